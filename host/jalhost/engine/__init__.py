"""From prompts to tokens on a device."""
