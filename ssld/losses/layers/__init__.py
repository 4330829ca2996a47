"""Define the layers that losses own. They need Paddle when they are defined, so a loss imports them in its
`helpers`.
"""
