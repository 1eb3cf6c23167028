"""Who calls: a Lambda authorizer for `Authorization: Bearer dm-...`, from the standard library alone."""
