"""Where the LLM helps, and where it does not: paired figures with their controls, as docs/teacher.md."""
