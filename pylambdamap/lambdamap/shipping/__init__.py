"""How functions, values, exceptions and their envelope are represented on the wire."""
