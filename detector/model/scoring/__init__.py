"""The phases of scoring: segments are gathered, judged at depth 0, asked of the teacher, and finished."""
