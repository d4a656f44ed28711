"""One call of `api` with the session of a recipe; prints its status, and what the recipe had kept."""

import json
import sys

import library_authlib
import library_requests_oauthlib

given, kept = json.load(sys.stdin), []
name, method = sys.argv[1:]
make = {
    "authlib": lambda *two: library_authlib.session(*two, kept.append, f"client_secret_{method}"),
    "requests-oauthlib": lambda *two: library_requests_oauthlib.Session(*two, kept.append, method),
}[name]
session = make(given["configuration"], given["tokens"])
print(json.dumps({"status": session.get(given["api"], timeout=30).status_code, "kept": kept}))
