"""What travels, and as what: functions, values, exceptions, and the envelope around them."""
