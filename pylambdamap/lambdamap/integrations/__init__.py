"""Bridges to other people's libraries. Each module imports its library; none is imported by itself."""
