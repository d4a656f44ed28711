"""A plugin as its author writes it for PG3, with udi_interface and the OAuth class that it brings, untouched.

It tells the test what it sees: a JSON object a line on standard output.
"""

import json
import sys
import threading

import requests
import udi_interface

ACCOUNT = sys.argv[1]  # where the service says whose token it is
told = threading.Lock()


def tell(what, **more):
    # udi_interface takes sys.stdout for its log.
    with told:
        print(json.dumps({"what": what, **more}), file=sys.__stdout__, flush=True)


class Service(udi_interface.OAuth):
    """The web service, called with whatever token is good."""

    def account(self):
        token = self.getAccessToken()
        answer = requests.get(ACCOUNT, headers={"Authorization": f"Bearer {token}"}, timeout=20)
        answer.raise_for_status()
        return token, answer.json()


class Controller:
    def __init__(self, polyglot):
        self.polyglot = polyglot
        self.service = Service(polyglot)
        self.parameters = udi_interface.Custom(polyglot, "customparams")
        self.data = udi_interface.Custom(polyglot, "customdata")
        for event, handler in [
            (polyglot.STOP, self.stop),
            (polyglot.CUSTOMDATA, self.data_came),
            (polyglot.CUSTOMNS, self.custom_came),
            (polyglot.CUSTOMPARAMS, self.parameters_came),
            (polyglot.OAUTH, self.linked),
            (polyglot.CONFIGDONE, self.started),
        ]:
            polyglot.subscribe(event, handler)

    def custom_came(self, key, data):
        if key is None:
            return
        self.service.customNsHandler(key, data)
        tell("custom", key=key, data=data)

    def data_came(self, data):
        self.data.load(data)
        tell("customdata", data=data)

    def parameters_came(self, parameters):
        self.parameters.load(parameters)
        tell("customparams", data=parameters)
        if self.parameters["client_id"]:
            self.service.updateOauthSettings({
                "client_id": self.parameters["client_id"],
                "client_secret": self.parameters["client_secret"],
                "parameters": {"ui_locales": self.parameters["language"]},
                "token_parameters": {"home": "yes"},
            })

    def linked(self, token):
        self.service.oauthHandler(token)
        tell("oauth", data=token)
        self.polyglot.Notices.clear()
        self.use()

    def started(self):
        tell("configdone", settings=self.service.getOauthSettings())
        self.use()

    def use(self):
        try:
            token, account = self.service.account()
            tell("account", token=token, account=account)
            self.data["visits"] = (self.data["visits"] or 0) + 1
        except ValueError as error:
            tell("unauthenticated", error=str(error))
            self.polyglot.Notices["auth"] = "Please initiate authentication"

    def stop(self):
        self.polyglot.stop()

    def obey(self):
        """Does what the test writes on standard input."""
        for line in sys.stdin:
            if line.strip() == "use":
                self.use()


if __name__ == "__main__":
    polyglot = udi_interface.Interface([])
    polyglot.start("1.0.0")
    controller = Controller(polyglot)
    polyglot.ready()
    threading.Thread(target=controller.obey, daemon=True).start()
    polyglot.runForever()
