terraform {
  # No providers: the module renders documents, and whoever calls it makes resources of them.
  required_version = ">= 1.9"
}
