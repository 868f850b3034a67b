"""Studies ask what no run answers: each is a command beside `run`, whose rows are read like those of runs."""

# name of the command and of its config group -> what it does, and the options that it takes where none is named
STUDIES: dict[str, tuple[str, tuple[str, ...]]] = {
    "tabular": ("MID for linear regression and trees, with the MAP attack", ("linear", "tree")),
    "leaks": ("infer the label of the sample that a network last learned from", ("short",)),
}
