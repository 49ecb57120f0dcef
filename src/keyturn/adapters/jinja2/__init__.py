"""Letters by Jinja2 templates."""
