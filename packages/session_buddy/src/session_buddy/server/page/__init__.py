"""The pages that people look at: a handler, a typed context and a template each."""
