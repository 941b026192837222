"""What crosses HTTP, a module per thing; the docstrings of the classes are texts of the OpenAPI document."""
