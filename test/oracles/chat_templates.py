"""Chat templates as transformers renders them: Python's spelling of values, its methods of texts, and what Jinja's filters do.

Writes test/oracles/chat_templates.json: templates, each with the texts of the conversations (without and with a generation
prompt), or the error.
Needs: transformers.

    python test/oracles/chat_templates.py
"""

import json
from pathlib import Path

from transformers.utils.chat_template_utils import render_jinja_template

OUT = Path(__file__).parent / "chat_templates.json"
CHATS = [
    [{"role": "user", "content": "  hello é\n\nthere\n "}],
    [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "hi 😀"},
        {"role": "assistant", "content": "<think>\nx\n</think>\n\n  ok"},
        {"role": "user", "content": ""},
    ],
]
SPECIAL = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}


def every(expression):
    return "{%- for m in messages %}{{ " + expression + " }}|{%- endfor %}"


TEMPLATES = [
    "{% for m in messages %}{{ bos_token }}{{ m.content }}{{ unk_token }}{{ pad_token }}{{ eos_token }}{{ mask_token }}{% endfor %}",
    every("m.content.split('</think>')[-1].lstrip('\\n').rstrip('\\n')"),
    every("m.content.strip(' .h')"),
    every("m.content.strip()"),
    every("m.content.strip(none)"),
    every("m.content | trim"),
    every("m.content | trim('.')"),
    every("m.content.lstrip() ~ m.content.rstrip()"),
    every("'\x1c\x85\ufeffa\ufeff'.strip()"),
    every("add_generation_prompt"),
    every("none ~ true ~ 1.5 ~ 2 ~ (1 == 1)"),
    every("none") + every("tools") + every("nothing"),
    every("[1, 'a', true, none, 2.0, \"it's\", 'é\\n\\x07']"),
    every("{'a': [1, {'b': none}], 'c\"': (1, 2)}"),
    every("m"),
    every("m | tojson"),
    every("[true, none, 'é', 1.5] | tojson(indent=2)"),
    every("'%s is %d years, %5.2f%% %-5s| %05d %r %x' % (m.role, 7, 1.005, 'ab', -42, 'x', 255)"),
    every("'%s!' % m.role"),
    every("'%s' % none"),
    every("'%s-%s' | format(m.role, true)"),
    every("'{} {name} {{}}'.format(m.role, name=true)"),
    every("'{1} {0}'.format(m.role, none)"),
    every("m.items() | sort | list"),
    every("m | dictsort | list"),
    every("m.items() | list"),
    every("['b', 'A', 'a', 'C'] | sort | join(',')"),
    every("['b', 'A', 'a', 'C'] | sort(reverse=true, case_sensitive=true) | join(',')"),
    every("[3, 1.5, true] | sort"),
    "{{ messages | sort(attribute='role') | map(attribute='role') | join(' ') }}",
    every("[true, none, 1] | join('-')"),
    every("', '.join(['a', 'b'])"),
    every("m.content.removeprefix('Be ').removesuffix('.')"),
    every("m.content.find('h') ~ m.content.count('e') ~ m.content.rfind('zzz')"),
    every("m.content.splitlines()"),
    every("m.content | length") + every("m.content | string"),
    every("m.content.startswith('hi') ~ m.content.endswith(('a', ' '))"),
    every("m.content[1:4] ~ m.content[::-1]"),
    every("m.content.upper() ~ m.role.title() ~ m.role | capitalize"),
    every("m.content.replace('e', 'E', 1)"),
    every("m.content | replace('h', 'J') | indent(2)"),
    every("(-7) % 3 ~ ' ' ~ 7 % -3 ~ ' ' ~ -7 // 2"),
    every("[1, [2]] == [1, [2]] and {'a': 1} == {'a': 1} and 1 == true and none == none"),
    every("[1, 2] in [[1, 2], 3]"),
    every("1 if nothing is defined else 0"),
    every("nothing | default('d') ~ (none | default('e', true))"),
    "{% set ns = namespace(n=0, seen=[]) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{{ ns.n }}{{ loop.index0 }}{{ loop.last }}{% endfor %}",
    "{% macro turn(m, end='.') %}<{{ m.role }}>{{ m.content }}{{ end }}{% endmacro %}{% for m in messages %}{{ turn(m) }}{{ turn(m, end='!') }}{% endfor %}",
    "{% if messages[0].role != 'system' %}{{ raise_exception('System first, not ' ~ messages[0].role) }}{% endif %}ok",
    "{{ messages[0].tool.name }}",
    "{% for m in messages %}{% if loop.first %}{% continue %}{% endif %}{{ m.role }}{% break %}{% endfor %}",
    "{% for i in range(3) %}{{ i }}{% endfor %}{% for i in range(5, 0, -2) %}{{ i }}{% endfor %}",
    "  {%- if true %}\n  a\n  {% endif %}\n\n{# note #}\nb\n",
    "{% generation %}{{ messages[0].content }}{% endgeneration %}",
    "{{ messages | selectattr('role', 'equalto', 'user') | list | length }}{{ messages | map(attribute='content') | list }}",
    "{% set x %}{{ messages[0].role }} {{ none }}{% endset %}[{{ x }}]",
    "{% for k, v in messages[0].items() %}{{ k }}={{ v }};{% endfor %}{% for k in messages[0] %}{{ k }}{% endfor %}",
    "{{ messages[0].get('name', 'anon') }}{{ messages[0].get('name') }}{{ 'role' in messages[0] }}{{ 'x' not in messages[0].content }}",
    "{{ 1.0 }} {{ 3 / 2 }} {{ 4 / 2 }} {{ 2 ** 3 }} {{ true and none }} {{ 0 or 'x' }} {{ not messages }}",
]


def render(template, messages, prompt):
    try:
        result, _ = render_jinja_template([messages], chat_template=template, add_generation_prompt=prompt, **SPECIAL)
        return result[0]
    except Exception as error:
        return {"error": type(error).__name__}


rows = [
    {"template": template, "texts": [render(template, chat, prompt) for chat in CHATS for prompt in (False, True)]}
    for template in dict.fromkeys(TEMPLATES)
]
content = {"special": SPECIAL, "chats": CHATS, "rows": rows}
OUT.write_text(json.dumps(content, ensure_ascii=True).replace('{"template"', '\n{"template"') + "\n")
print(len(rows), "templates", OUT.stat().st_size, "bytes")
