"""Memory size against speed and cost: what Lambda's processor shares do to an answer."""
