//! Mistakes in templates and prose.

use super::Mistake;

/// Mistakes that must not compile. Their error messages are in `tests/manifest/templates.txt`.
pub const TEMPLATE_MISTAKES: &[Mistake] = &[
    (
        "undefined variable",
        &[(
            "tools/lend.md.j2",
            "Lend a book for {{ tool.params.days.default }}",
            "Lend a book for {{ tool.params.dais.default }}",
        )],
    ),
    (
        "undefined variable in a branch not taken",
        &[(
            "tools/lend.md.j2",
            "Without end, {{ tool.params.days.default }}",
            "Without end, {{ tool.params.days.defalt }}",
        )],
    ),
    (
        "undefined variable in an inline text",
        &[(
            "tools.yaml",
            "{{ tools.lend.name }}",
            "{{ tools.lent.name }}",
        )],
    ),
    (
        "undefined variable in a param's doc",
        &[("tools.yaml", "doc: Numbers", "doc: '{{ tool.nam }}'")],
    ),
    (
        "undefined variable in an included file",
        &[("part.md.j2", "tools.lend.params", "tools.lend.parms")],
    ),
    (
        "undefined variable in a guide",
        &[("guides/house.md.j2", "guides.house.uri", "guides.home.uri")],
    ),
    (
        "undefined field of a loop variable",
        &[("page.md.j2", "tool.description", "tool.describtion")],
    ),
    (
        "undefined field of a loop variable in a branch not taken",
        &[(
            "page.md.j2",
            "- {{ name }}",
            "- {% if name == \"none\" %}{% for key, param in tool.params|items %}{{ param.typ }}{% endfor %}{% endif %}{{ name }}",
        )],
    ),
    (
        "default of an argument without one",
        &[(
            "tools/lend.md.j2",
            "Lend a book for {{ tool.params.days.default }}",
            "Lend a book for {{ tool.params.book.default }}",
        )],
    ),
    (
        "unknown filter",
        &[("macros.md.j2", "params|items", "params|itens")],
    ),
    (
        "unknown filter in a branch not taken",
        &[(
            "tools/lend.md.j2",
            "Without end, {{ tool.params.days.default }}",
            "Without end, {{ tool.params.days.default|shuot }}",
        )],
    ),
    (
        "unknown test",
        &[(
            "tools/lend.md.j2",
            "{% else %}",
            "{% elif tool.name is definend %}{% else %}",
        )],
    ),
    (
        "unknown included file",
        &[(
            "tools/lend.md.j2",
            "{% include \"part.md.j2\" %}",
            "{% include \"prat.md.j2\" %}",
        )],
    ),
    (
        "unknown included file in a branch not taken",
        &[(
            "tools/lend.md.j2",
            "Without end",
            "{% include \"nothing.md.j2\" %}Without end",
        )],
    ),
    (
        "unknown macros",
        &[(
            "tools/lend.md.j2",
            "from \"macros.md.j2\"",
            "from \"macro.md.j2\"",
        )],
    ),
    (
        "macro that reads a global variable",
        &[("macros.md.j2", "{{ name }}", "{{ tools.lend.name }}")],
    ),
    (
        "unused template",
        &[("tools/lend.md.j2", "{% include \"part.md.j2\" %}", "Soon.")],
    ),
    (
        "unknown template of a description",
        &[(
            "tools.yaml",
            "description: tools/lend.md.j2",
            "description: tools/lent.md.j2",
        )],
    ),
    (
        "unknown template of the instructions",
        &[(
            "tools.yaml",
            "instructions: instructions.md.j2",
            "instructions: instruction.md.j2",
        )],
    ),
    (
        "syntax of a template",
        &[("part.md.j2", "The shelf", "{% if %}The shelf")],
    ),
    (
        "syntax of an inline text",
        &[(
            "tools.yaml",
            "{{ tools.lend.name }}",
            "{{ tools.lend.name }",
        )],
    ),
    (
        "prose names an unknown tool",
        &[("tools.yaml", "Then `lend(book", "Then `lent(book")],
    ),
    (
        "prose names a tool by its former name",
        &[(
            "tools.yaml",
            "Then `lend(book=\"…\", days=3)`",
            "Then `retitle(title=\"…\")`",
        )],
    ),
    (
        "prose names an unknown argument",
        &[("tools.yaml", "days=3", "dais=3")],
    ),
    (
        "character that reverses the text direction",
        &[("guides/house.md.j2", "Be quiet.", "Be \u{202e}quiet.")],
    ),
    (
        "prompt that reads an unknown argument",
        &[(
            "prompts/find-book.md.j2",
            "among {{ shelf }}",
            "among {{ shelv }}",
        )],
    ),
    (
        "prompt that reads an optional argument",
        &[(
            "prompts/find-book.md.j2",
            "among {{ shelf }}",
            "among {{ shelf }} for {{ reader }}",
        )],
    ),
    (
        "prompt that does not read an argument",
        &[("prompts/find-book.md.j2", "among {{ shelf }}", "there")],
    ),
    (
        "prompt that calls an unknown tool",
        &[("prompts/find-book.md.j2", "`lend(", "`lent(")],
    ),
    (
        "call in a block of code with an unknown argument",
        &[("guides/house.md.j2", "days=2", "dayz=2")],
    ),
    (
        "prose names an unknown guide",
        &[(
            "tools.yaml",
            "contree://guide/house",
            "contree://guide/hose",
        )],
    ),
];
