"""What the dashboards show, a file for each; `panels` has the shapes that they are made of."""
