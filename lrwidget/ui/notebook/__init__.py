"""The notebook around the widget: its kernel, its cells, its names."""
