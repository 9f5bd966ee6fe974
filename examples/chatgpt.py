#!/usr/bin/env python3
"""Ask ChatGPT through the onion network, with the official package.

    pip install openai 'httpx[socks]'
    python3 chatgpt.py API-KEY-FILE ["What to ask"] [--proxy 127.0.0.1:1080] [--country CC] [--model NAME] [--base-url URL]

Without a question it holds a conversation: one line, one answer, Ctrl-D ends it. Without --country the proxy chooses where
to leave, and others are tried if the server does not serve that country.
"""

import argparse
import os
import stat
import sys

import httpx
import openai

# Where OpenAI serves and routers are likely to be. The proxy refuses at once where there is no exit.
COUNTRIES = ("us ca gb ie de nl fr ch se no dk fi is be at ee lv lt pl cz es pt it ro bg gr jp kr sg in au nz br mx za").split()
# In so many countries the server is asked, besides the first.
LIMIT = 8


def read_key(path):
    with open(path) as file:
        if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
            sys.exit(f"others can read the API key file {path}. Run: chmod 600 {path}")
        return file.read().strip()


class Chat:
    def __init__(self, options):
        self.options = options
        self.key = read_key(options.key_file)
        self.countries = [] if options.country else list(COUNTRIES)
        self.tried = [(options.country or "the proxy's choice")]
        self.leave_in(options.country)

    def leave_in(self, country):
        """Make a client whose connections leave in that country: its SOCKS user name says so."""
        user = f"country-{country}+chat:x@" if country else ""
        # socks5h, with the h: the name of the server is looked up by the exit router, not by this machine.
        self.client = openai.OpenAI(
            api_key=self.key, base_url=self.options.base_url, max_retries=0,
            http_client=httpx.Client(proxy=f"socks5h://{user}{self.options.proxy}", timeout=120))

    def answer(self, messages):
        """Print the answer as it comes, and return it; try other countries if this one is not served."""
        refusal, asked = None, 0
        while True:
            try:
                text = self.answer_once(messages)
                if refusal is not None:
                    print(f"the server serves {self.tried[-1]}", file=sys.stderr)
                return text
            except openai.PermissionDeniedError as error:
                if error.code != "unsupported_country_region_territory" or asked >= LIMIT or not self.countries:
                    raise
                refusal, asked = error, asked + 1
                print(f"the server does not serve {self.tried[-1]}; trying other countries", file=sys.stderr)
            except openai.APIConnectionError:
                # While searching: there is no exit in that country.
                if refusal is None:
                    raise
                self.tried.pop()
                if not self.countries:
                    raise refusal
            country = self.countries.pop(0)
            self.tried.append(country.upper())
            self.leave_in(country)

    def answer_once(self, messages):
        text = ""
        for chunk in self.client.chat.completions.create(model=self.options.model, messages=messages, stream=True):
            piece = (chunk.choices[0].delta.content if chunk.choices else None) or ""
            print(piece, end="", flush=True)
            text += piece
        print()
        return text


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("key_file")
    parser.add_argument("prompt", nargs="?")
    parser.add_argument("--proxy", default="127.0.0.1:1080")
    parser.add_argument("--country", help="leave in this country, as two letters, or not-us")
    parser.add_argument("--model", default="gpt-4o-mini")
    parser.add_argument("--base-url", default="https://api.openai.com/v1")
    options = parser.parse_args()

    chat = Chat(options)
    messages = []
    try:
        if options.prompt is not None:
            chat.answer([{"role": "user", "content": options.prompt}])
            return
        for line in sys.stdin:
            if line.strip():
                messages.append({"role": "user", "content": line.strip()})
                messages.append({"role": "assistant", "content": chat.answer(messages)})
    except openai.AuthenticationError:
        sys.exit("the server does not accept the API key (401)")
    except openai.PermissionDeniedError as error:
        sys.exit(f"the server refuses (403): {error.message} Tried: {', '.join(chat.tried)}")
    except openai.RateLimitError:
        sys.exit("too many requests, or the quota is spent (429): wait a little")
    except openai.APIConnectionError as error:
        sys.exit(f"no connection through the proxy at {options.proxy}: is thor-proxy running? ({error.__cause__})")
    except openai.APIStatusError as error:
        sys.exit(f"the server refuses ({error.status_code})")


if __name__ == "__main__":
    main()
