"""What each job can be told: one frozen dataclass a job, its settings declared once.

`pcd_tf.configs.distill.Config`, and so on. A notebook fills one in and hands it to the job's `run`;
the command line makes its flags and its help from the same declarations.
"""
