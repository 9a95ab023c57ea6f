"""Whether a night's kept edits hold at another size: the stack of them against that size's own train.py, and which carry it.

stack.py     the kept edits of a study, and each of them made on another train.py
design.py    which combinations to train for the share of each edit, and what they say (pure)
verdict.py   holds, holds in part, does not hold (pure)
begin.py     the study that measures it, made or gone on with, and the one of what held
night.py     its trainings: which comes next is read from its ledger
figures.py   what such a study has found, from its ledger and its runs' documents
"""

SEEDS = 3  # trainings of base and stack each, where nobody says how many
