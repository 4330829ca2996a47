"""Define the layers that losses own. Their classes need Paddle, so a loss imports them in its `helpers`."""
