#!/usr/bin/env python3
"""Ask ChatGPT through the onion network, with the official package.

    pip install openai 'httpx[socks]'
    python3 chatgpt.py API-KEY-FILE ["What to ask"] [--proxy 127.0.0.1:1080] [--model NAME] [--base-url URL]

Without a question it holds a conversation: one line, one answer, Ctrl-D ends it.
"""

import argparse
import os
import stat
import sys

import httpx
import openai


def read_key(path):
    with open(path) as file:
        if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
            sys.exit(f"others can read the API key file {path}. Run: chmod 600 {path}")
        return file.read().strip()


def answer(client, model, messages):
    """Print the answer as it comes, and return it."""
    text = ""
    for chunk in client.chat.completions.create(model=model, messages=messages, stream=True):
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
    parser.add_argument("--model", default="gpt-4o-mini")
    parser.add_argument("--base-url", default="https://api.openai.com/v1")
    options = parser.parse_args()

    # socks5h, with the h: the name of the server is looked up by the exit router, not by this machine.
    client = openai.OpenAI(
        api_key=read_key(options.key_file), base_url=options.base_url, max_retries=0,
        http_client=httpx.Client(proxy=f"socks5h://{options.proxy}", timeout=120))
    messages = []
    try:
        if options.prompt is not None:
            answer(client, options.model, [{"role": "user", "content": options.prompt}])
            return
        for line in sys.stdin:
            if line.strip():
                messages.append({"role": "user", "content": line.strip()})
                messages.append({"role": "assistant", "content": answer(client, options.model, messages)})
    except openai.AuthenticationError:
        sys.exit("the server does not accept the API key (401)")
    except openai.PermissionDeniedError:
        sys.exit("the server refuses (403): often it does not serve the exit router's country; try again later")
    except openai.RateLimitError:
        sys.exit("too many requests, or the quota is spent (429): wait a little")
    except openai.APIConnectionError as error:
        sys.exit(f"no connection through the proxy at {options.proxy}: is thor-proxy running? ({error.__cause__})")
    except openai.APIStatusError as error:
        sys.exit(f"the server refuses ({error.status_code})")


if __name__ == "__main__":
    main()
