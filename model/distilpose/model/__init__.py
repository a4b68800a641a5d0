"""The networks and everything that turns pixels into poses; knows no service, wire or HTTP."""
