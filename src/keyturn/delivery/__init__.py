"""How the outside reaches the use-cases: translate, call one, translate back."""
