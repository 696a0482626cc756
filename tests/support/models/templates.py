"""Chat templates in the shapes that families use, in our own short words."""

from __future__ import annotations


def of_parts(
    *,
    begin: str = "<|im_start|>{role}\n",
    end: str = "<|im_end|>\n",
    image: str = "",
    video: str = "",
    audio: str = "",
    answer: str = "<|im_start|>assistant\n",
    first: str = "",
    lists_to_system: bool = False,
) -> str:
    """A template that goes through the parts of a message.

    Args:
        begin, end: what stands around a message, with ``{role}`` for its role.
        image, video, audio: places; "" where the family takes none.
        answer: what the model goes on from.
        first: what every prompt begins with.
        lists_to_system: a system message is printed as it comes, and a list as Python prints one.
    """
    kinds = {"image": image, "video": video, "audio": audio}
    branches = "".join(
        f"{{%- elif part.type == '{kind}' -%}}{{{{ {place!r} }}}}"
        for kind, place in kinds.items()
        if place
    )
    parts = (
        "{%- if message.content is string -%}{{ message.content }}{%- else -%}"
        "{%- for part in message.content -%}"
        f"{{%- if part.type == 'text' -%}}{{{{ part.text }}}}{branches}{{%- endif -%}}"
        "{%- endfor -%}{%- endif -%}"
    )
    if lists_to_system:
        parts = (
            "{%- if message.role == 'system' -%}{{ message.content }}"
            f"{{%- else -%}}{parts}{{%- endif -%}}"
        )
    return (
        f"{{{{ {first!r} }}}}"
        "{%- for message in messages -%}"
        f"{{{{ {begin!r}.replace('{{role}}', message.role) }}}}{parts}{{{{ {end!r} }}}}"
        "{%- endfor -%}"
        f"{{%- if add_generation_prompt -%}}{{{{ {answer!r} }}}}{{%- endif -%}}"
    )


def of_strings(*, thinks: bool = False) -> str:
    """A template that joins texts, as those of Qwen's text models; with a switch for thinking."""
    silent = (
        "{%- if enable_thinking is defined and enable_thinking is false -%}"
        "{{ '<think>\n\n</think>\n\n' }}{%- endif -%}"
    )
    return (
        "{%- for message in messages -%}"
        "{{ '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}"
        "{%- endfor -%}{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\n' }}"
        f"{silent if thinks else ''}{{%- endif -%}}"
    )


HARMONY = (
    "{{- '<|start|>system<|message|>You are a model.\nReasoning: '"
    " + (reasoning_effort or 'medium') + '<|end|>' -}}"
    "{%- for message in messages -%}"
    "{{ '<|start|>' + message.role + '<|message|>' + message.content + '<|end|>' }}"
    "{%- endfor -%}{%- if add_generation_prompt -%}{{ '<|start|>assistant' }}{%- endif -%}"
)
"""The shape of gpt-oss."""
