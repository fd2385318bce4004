"""What has to outlive the process, encrypted at rest."""
