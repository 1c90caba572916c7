"""Makes the golden files of chat templates with Python's Jinja2, set up as transformers does it.

    pip install jinja2==3.1.6
    python3 jinja2_oracle.py [folder with the shared data]

jinja2.json: snippets, each with its output or error. models.json: digests of what real templates give;
their text is not ours to keep here.
"""

import hashlib
import json
import pathlib
import sys

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment


class Generation(Extension):
    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return nodes.CallBlock(self.call_method("_body"), [], [], body).set_lineno(line)

    def _body(self, caller):
        return caller()


def to_json(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def raise_exception(message):
    raise jinja2.exceptions.TemplateError(message)


env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols])
env.filters["tojson"] = to_json
env.globals["raise_exception"] = raise_exception
env.globals["strftime_now"] = lambda form: "26 Jul 2024"

VARIABLES = {'t': True,
 'f': False,
 'n': None,
 'i': 42,
 'x': 1.5,
 'big': 1e+16,
 'small': 1.5e-07,
 's': 'hello World',
 'e': '',
 'l': [1, 2, 3],
 'd': {'b': 1, 'a': 'x', 'c': [1, {'y': None}]},
 'ls': ['b', 'A', 'c'],
 'u': 'naïve 🦙 <b>&\'"\\',
 'm': [{'role': 'user', 'content': 'hi'},
       {'role': 'assistant',
        'content': None,
        'tool_calls': [{'function': {'name': 'f', 'arguments': {'a': 1, 'b': [True, None, 'ü']}}}]}],
 'neg': -3,
 'big2': 12345678901234567890,
 'ws': '  a b \n',
 'q': "it's",
 'nl': 'a\nb\n\nc',
 'empty': [],
 'ed': {},
 'one': 1,
 'fl': 2.0}

SNIPPETS = [
    '{{ t }} {{ f }} {{ n }} {{ i }} {{ x }} {{ big }} {{ small }} {{ fl }}',
    '{{ l }} {{ d }} {{ ls }} {{ u }} {{ [u] }} {{ [q] }} {{ empty }} {{ ed }}',
    '{{ d|tojson }} {{ l|tojson }} {{ u|tojson }} {{ m|tojson }} {{ n|tojson }} {{ t|tojson }} {{ x|tojson }} {{ big|tojson }}',
    '{{ d|tojson(indent=2) }}',
    '{{ m|tojson(indent=4) }}',
    "{{ d|tojson(separators=(',',':')) }}",
    '{{ d|tojson(sort_keys=True) }} {{ u|tojson(ensure_ascii=True) }} {{ empty|tojson(indent=2) }} {{ ed|tojson(indent=2) }}',
    "{{ missing }}|{{ missing is defined }}|{{ missing|default('z') }}|{{ e|default('z', true) }}",
    '{{ missing.x }}',
    "{{ d.missing }}{{ d['missing'] }}{{ d.get('missing') }}{{ d.get('missing','q') }}{{ d.get('b') }}",
    "{{ s.upper() }} {{ s.lower() }} {{ s.title() }} {{ s.capitalize() }} {{ s.split() }} {{ s.split('o') }} {{ s.split('o',1) }}",
    "{{ s.startswith('he') }} {{ s.endswith(('x','d')) }} {{ s.find('W') }} {{ s.replace('l','L') }} {{ s.replace('l','L',1) }} {{ ws.strip()|tojson }} {{ ws.lstrip()|tojson }} {{ ws.rstrip()|tojson }} {{ s.strip('hd') }}",
    "{{ s.rsplit('o',1) }}",
    "{{ s.removeprefix('he') }} {{ s.removesuffix('ld') }}",
    "{{ s.partition(' ') }} {{ s.rpartition('l') }}",
    "{{ s.index('W') }}",
    '{{ s.zfill(15) }} {{ s.center(15) }} {{ s.ljust(15) }}| {{ s.rjust(15) }}',
    '{{ s.swapcase() }} {{ s.casefold() }}',
    "{{ s.count('l') }} {{ s.isdigit() }} {{ s.isalpha() }} {{ nl.splitlines() }} {{ '-'.join(ls) }}",
    '{{ s.isupper() }} {{ s.islower() }} {{ s.isspace() }} {{ s.isalnum() }}',
    '{{ s[0] }} {{ s[-1] }} {{ s[1:3] }} {{ s[:-1] }} {{ s[::-1] }} {{ l[::-1] }} {{ l[1:] }} {{ l[:1] }} {{ l[-2:] }} {{ l[::2] }}',
    "{{ m[0].role }} {{ m[0]['role'] }} {{ m[1].content }} {{ m[-1].role }}",
    "{{ 'a' ~ 1 ~ t ~ n ~ x ~ l }}",
    "{{ 'a' + 'b' }} {{ 1 + 2.5 }} {{ 7 // 2 }} {{ -7 // 2 }} {{ 7 % 3 }} {{ -7 % 3 }} {{ 2 ** 10 }} {{ 7 / 2 }} {{ 6 / 2 }} {{ 'ab' * 3 }} {{ [1] * 2 }} {{ [1] + [2] }}",
    "{{ 'a' + 1 }}",
    "{{ 'a' + n }}",
    "{{ 1 in l }} {{ 'ell' in s }} {{ 'b' in d }} {{ 4 not in l }} {{ 'x' in missing }}",
    '{{ i is number }} {{ s is string }} {{ l is sequence }} {{ s is sequence }} {{ d is mapping }} {{ d is iterable }} {{ s is iterable }} {{ n is none }} {{ t is boolean }} {{ t is true }} {{ i is integer }} {{ x is float }} {{ t is integer }} {{ t is number }} {{ l is mapping }} {{ d is sequence }} {{ i is iterable }} {{ n is iterable }}',
    '{{ i is even }} {{ i is odd }} {{ i is divisibleby(7) }} {{ i is eq(42) }} {{ i is gt 3 }} {{ i is in [42] }} {{ s is lower }} {{ i is sameas i }} {{ missing is undefined }}',
    "{{ ls|join(', ') }} {{ l|join }} {{ ls|sort }} {{ ls|sort|join(',') }} {{ l|sum }} {{ l|max }} {{ l|min }} {{ l|first }} {{ l|last }} {{ l|length }} {{ s|length }} {{ l|reverse|list }} {{ s|reverse }} {{ ['a','a','b']|unique|list }}",
    '{{ d|items|list }} {{ d.items()|list }} {{ d.keys()|list }} {{ d.values()|list }} {{ d|dictsort }} {{ d|list }} {{ d|length }}',
    "{{ m|selectattr('role','equalto','user')|list|length }} {{ m|map(attribute='role')|join(',') }} {{ m|rejectattr('content')|list|length }} {{ ls|map('upper')|list }} {{ l|select('odd')|list }} {{ l|reject('odd')|list }} {{ m|groupby('role')|length }}",
    "{{ s|upper }} {{ s|title }} {{ s|capitalize }} {{ ws|trim|tojson }} {{ s|replace('l','1') }} {{ s|trim('hd') }} {{ 3.7|int }} {{ '12'|int }} {{ 'z'|int(5) }} {{ '1.5'|float }} {{ 3.14159|round(2) }} {{ 3.5|round }} {{ -3|abs }} {{ s|list }} {{ i|string }} {{ x|string ~ 'z' }}",
    '{{ nl|indent }}|{{ nl|indent(2) }}|{{ nl|indent(2, true) }}|{{ nl|indent(width=2, blank=true) }}',
    "{{ '%s-%d'|format('a', 3) }} {{ '%05.2f'|format(3.14159) }} {{ '{} {}'.format('a', 1) }}",
    '{{ u|e }} {{ u|escape }} {{ u|safe }}',
    '{{ l|batch(2)|list }} {{ l|slice(2)|list }}',
    '{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}',
    '{% for x in l %}{{ loop.index }}{{ loop.index0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.revindex }}{{ loop.previtem }}{{ loop.nextitem }} {% else %}none{% endfor %}',
    '{% for x in empty %}a{% else %}none{% endfor %}',
    '{% for x in l if x > 1 %}{{ x }}{% if x == 2 %}{% continue %}{% endif %}!{% endfor %}',
    '{% for x in l %}{{ x }}{% if x == 2 %}{% break %}{% endif %}{% endfor %}',
    "{% for x in l %}{{ loop.cycle('a','b') }}{{ loop.changed(x) }}{% endfor %}",
    "{% set ns = namespace(a=1, b='x') %}{% for x in l %}{% set ns.a = ns.a + x %}{% endfor %}{{ ns.a }} {{ ns.b }}",
    '{% set y = 1 %}{% for x in l %}{% set y = x %}{% endfor %}{{ y }}',
    '{% set y %}block {{ i }}{% endset %}{{ y }}',
    '{% set a, b = 1, 2 %}{{ a }}{{ b }} {{ (1,2) }} {{ (1,) }}',
    "{% macro f(a, b='z') %}[{{ a }}{{ b }}{{ caller() if caller else '' }}]{% endmacro %}{{ f(1) }}{{ f(1, b=2) }}{% call f(3) %}in{% endcall %}",
    '{% if t and not f %}yes{% elif n %}no{% else %}else{% endif %}',
    "{{ 'a' if t else 'b' }} {{ 'a' if f }}|",
    '{% with z = 3 %}{{ z }}{% endwith %}',
    '{% filter upper %}abc{% endfilter %}',
    '{% raw %}{{ x }}{% endraw %}',
    '{# comment #}after',
    'a {%- if t -%} b {%- endif -%} c',
    '  {% if t %}\n  x\n  {% endif %}\ny',
    '{%- for x in l %}\n\n {{ x }}\n{%- endfor %}',
    '{% generation %}gen {{ i }}{% endgeneration %} out',
    '{%- generation -%} gen {%- endgeneration -%} out',
    '{{ range(3)|list }} {{ range(1,7,2)|list }}',
    '{{ dict(a=1) }}',
    "{{ d == {'b':1} }} {{ l == [1,2,3] }} {{ 1 == 1.0 }} {{ '1' == 1 }} {{ t == 1 }}",
    "{{ 1 < 2 < 3 }} {{ 'a' < 'b' }}",
    '{{ neg }} {{ big2 }} {{ 1_000 }} {{ 1e3 }} {{ 0.1 + 0.2 }}',
    '{{ ws|length }} {{ u|length }} {{ u[6] }}',
    '{{ m[1].tool_calls[0].function.arguments|tojson }}',
    "{{ m[1].tool_calls[0]['function']['name'] }} {{ m[0].tool_calls }} {{ m[0].tool_calls is defined }}",
    '{{ n.x }}',
    '{{ n|length }}',
    "{{ missing|length }} {{ missing|list }} {{ missing|join }} {{ missing ~ 'a' }}",
    "{{ missing + 'a' }}",
    '{{ missing == missing2 }} {{ missing is none }} {{ not missing }}',
    '{% for x in missing %}a{% endfor %}ok',
    "{{ none }} {{ None }} {{ true }} {{ True }} {{ [True, none, 1.0, 'a'] }}",
    '{{ l.append(4) }}',
    "{{ d.update({'z':1}) }}",
    '{{ l.index(2) }} {{ l.count(2) }}',
    '{{ d.copy() }}',
    "{{ raise_exception('bad ' + s) }}",
    '{{ "\\n\\t\\"\\\\" }}',
    "{{ 'tab\\tnew\\nline' | tojson }}",
    '{{ l|tojson|length }}',
    "{{ '' if n is none else n }}",
    "{{ ['a','b']|join('\\n') }}",
    '{% set x = [1,2] + [3] %}{{ x }} {{ x|length }}',
    "{{ ({'a':1})['a'] }} {{ {'a': 1, 'b': [1,2]} }}",
    "{{ d['c'][1]['y'] }} {{ d.c[0] }}",
    "{{ 10|string|length }} {{ '5' * 2 }} {{ 5|float }} {{ '3'|int + 1 }}",
    "{{ l|map('string')|join('+') }} {{ m|map(attribute='content')|list }} {{ m|map(attribute='zz', default='q')|list }}",
    "{{ 'A' in 'ABC' and 'B' in 'ABC' }} {{ t or f }} {{ n or 'dflt' }} {{ 0 or '' or 'x' }}",
    '{{ s|first }} {{ s|last }} {{ empty|first }}',
    "{{ ls|sort(reverse=true) }} {{ ls|sort(case_sensitive=true) }} {{ m|sort(attribute='role')|map(attribute='role')|list }}",
    "{{ 'x'.join(['1','2']) }} {{ s.__class__ }}",
    '{{ s.__class__.__mro__ }}',
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    '{{ cycler.__init__.__globals__ }}',
    '{{ range.__doc__ }}',
]

TOOL = {"type": "function", "function": {"name": "weather", "description": "What's the weather?", "parameters": {
    "type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}, "required": ["city"]}}}
SYSTEM = {"role": "system", "content": "You are terse."}
USER = {"role": "user", "content": "Wie ist das Wetter in Zürich? 🦙\n"}
CALL = {"role": "assistant", "content": "", "tool_calls": [
    {"type": "function", "function": {"name": "weather", "arguments": {"city": "Zürich", "days": 1.5}}}]}
RESULT = {"role": "tool", "content": '{"celsius": 3.0}'}
THOUGHT = {"role": "assistant", "content": "<think>\nhm\n</think>\n\n  Cold. "}
DIALOGUES = {
    "user": [USER],
    "system": [SYSTEM, USER],
    "turns": [SYSTEM, USER, {"role": "assistant", "content": "3 degrees."}, USER],
    "tools": [SYSTEM, USER, CALL, RESULT, RESULT, THOUGHT, USER],
    "thought": [USER, THOUGHT, USER],
    "order": [{"role": "assistant", "content": "I begin."}, USER, USER],
    "empty": [{"role": "user", "content": ""}],
    "none": [{"role": "user", "content": None}],
    "nobody": [],
}
OPTIONS = [
    {"add_generation_prompt": True},
    {"add_generation_prompt": False},
    {"add_generation_prompt": True, "tools": [TOOL, TOOL]},
    {"add_generation_prompt": True, "enable_thinking": False},
]
MODELS = {
    "Qwen2.5": "data/tokenizers/qwen2.5-0.5b-instruct/tokenizer_config.json",
    "Qwen3": "data/tokenizers/qwen3/tokenizer_config.json",
    "Phi-3.5": "data/chat_templates/llama.cpp/microsoft-Phi-3.5-mini-instruct.jinja",
    "DeepSeek-R1-Distill-Qwen": "data/chat_templates/llama.cpp/deepseek-ai-DeepSeek-R1-Distill-Qwen-32B.jinja",
    "SmolLM2": "models/smollm2-135m-instruct/genai-int4/chat_template.jinja",
}


def render(source, variables):
    try:
        return env.from_string(source).render(**variables), None
    except Exception as error:  # any failure is a result here
        return None, f"{type(error).__name__}: {error}"


def main():
    here = pathlib.Path(__file__).parent
    shared = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else here.parents[3] / "shared"
    cases = []
    for source in SNIPPETS:
        source = "before\n" + source + "\nafter"
        want, error = render(source, VARIABLES)
        cases.append({"source": source, "want": want, "error": error})
    golden = {"variables": VARIABLES, "cases": cases}
    (here / "jinja2.json").write_text(json.dumps(golden, ensure_ascii=False, indent=1) + "\n")

    renders = []
    for model, path in MODELS.items():
        source = (shared / path).read_text()
        if path.endswith(".json"):
            source = json.loads(source)["chat_template"]
        for dialogue, messages in DIALOGUES.items():
            for option, options in enumerate(OPTIONS):
                variables = dict(options, messages=messages, bos_token="<s>", eos_token="</s>")
                want, error = render(source, variables)
                renders.append({
                    "model": model, "dialogue": dialogue, "option": option, "error": error,
                    "length": len(want.encode()) if want is not None else 0,
                    "sha256": hashlib.sha256(want.encode()).hexdigest() if want is not None else "",
                })
    golden = {"models": MODELS, "dialogues": DIALOGUES, "options": OPTIONS, "renders": renders}
    (here / "models.json").write_text(json.dumps(golden, ensure_ascii=False, indent=1) + "\n")


if __name__ == "__main__":
    main()
