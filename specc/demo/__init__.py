"""A demonstration on generated events: can a compiled DSIN find an interest that was planted?"""
