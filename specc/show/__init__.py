"""A model as a picture: the typed graph -> a scene of boxes -> SVG, HTML or Mermaid text."""
