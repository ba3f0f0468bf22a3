"""``/api``: links, events, managers and runs as JSON, for scripts with a bearer token.

``gate`` lets in who has a token, ``problems`` says what went wrong, ``paging`` cuts lists into pages, ``shapes`` is
what is answered, one module per subject answers it, ``page`` shows all of it to people, ``site`` puts it together.
"""
