"""Parts of a widget, shown a second time elsewhere."""

import ipywidgets


class Panel(ipywidgets.VBox):  # type: ignore[misc]
    """A box around parts that belong to somebody else: closing it leaves them open."""

    def close(self) -> None:
        """Close the box, and what is its own."""
        layout = self.layout
        super().close()
        if layout is not None:
            layout.close()
