"""What a user asks for, a module each: one spine reads top to bottom."""
