"""Pages for people who program against the API: the description, a guide, and what each problem means."""
