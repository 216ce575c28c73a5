"""Parsers against whatever anyone may send them: only errors of the domain may come out."""
