"""How curves and numbers look, shared by the screen and by pictures. Needs numpy only."""
