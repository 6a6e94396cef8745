"""A first, simple simulation of labelled micrographs of graphene."""
