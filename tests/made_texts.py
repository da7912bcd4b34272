"""Short sentences of our own in many scripts, for made-up runs; and texts that try to break out of a page."""

SENTENCES: dict[str, list[str]] = {
    "en": ["The soup was warm and good", "The bus came late again", "A quiet evening at home"],
    "bn": ["আজ বিকেলের চা খুব ভালো ছিল", "বাসটি আবার দেরি করে এসেছে", "ক্ষুদ্র দোকানে স্ত্রীর জন্য শাড়ি কিনলাম"],
    "ar": ["كان الشاي لذيذًا هذا المساء", "تأخرت الحافلة مرة أخرى", "مساء هادئ في البيت"],
    "hi": ["आज की चाय बहुत अच्छी थी", "बस फिर देर से आई", "घर पर एक शांत शाम"],
    "de": ["Die Suppe war warm und gut", "Der Bus kam schon wieder zu spät", "Ein ruhiger Abend zu Hause"],
    "zh": ["今天的汤很好喝", "公共汽车又晚点了", "在家安静的晚上"],
    "th": ["ซุปวันนี้อร่อยมาก", "รถเมล์มาสายอีกแล้ว", "เย็นวันเงียบ ๆ ที่บ้าน"],
    "he": ["המרק היה חם וטוב", "האוטובוס שוב איחר", "ערב שקט בבית"],
    "sw": ["Supu ilikuwa ya moto na nzuri", "Basi lilichelewa tena", "Jioni tulivu nyumbani"],
}

HOSTILE = [
    "</script><script>window.__owned = 1</script>",
    '<img src=x onerror="window.__owned = 2">',
    "{{ 7 * 7 }} {% raw %} ${window.__owned = 3} `id`",
    "line\u2028separator\u2029and \u202eright-to-left override",
    "| pipe | table | \n\n# heading\n<!-- comment -->",
    "<!--<script>",
    '=HYPERLINK("http://example.invalid","x")',
]


def sentence(language: str, number: int) -> str:
    """A sentence of this language, different for each number."""
    known = SENTENCES.get(language, SENTENCES["en"])
    return f"{known[number % len(known)]} {number}"
