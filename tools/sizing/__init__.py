"""The autoscaling simulation that fills the tables of docs/scaling.md."""
