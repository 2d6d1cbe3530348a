"""Words before a colon that name a field, a kind of remark or a day, and so are not the name of a speaker."""

from __future__ import annotations

from recalld_server.domain.extraction.word_lists import word_set

FIELD_NAMES = word_set(
    # Kinds of remarks.
    """
    note notes nb n.b ps p.s pps todo to-do reminder reminders update updates edit edited correction clarification
    disclaimer warning warnings caution important urgent attention info fyi tldr tl;dr tip tips hint fact facts fun
    trivia confession admission question questions answer answers q a example examples e.g i.e result results summary
    conclusion background context problem problems issue issues solution idea ideas plan plans goal goals aim aims
    wish dream dreams request requests task tasks option options pro pros con cons advantage advantages disadvantage
    disadvantages reason reasons status news headline spoiler thoughts thought opinion feedback review verdict rule
    rules fix error errors debug trace critical log logs output input command code step steps part chapter section
    page item items list point points first second third next finally then also however anyway honestly actually
    basically seriously remember today yesterday tomorrow now later before after currently recently always never motto
    quote saying mantra lesson moral bottom line lately story diary journal entry memo message text post caption
    resume cv bio about
    """
    # Fields of forms.
    """
    name names surname nickname age born birthday birthdate date dates time times day days week weeks month year years
    place location address street city town country state region zip postcode home house flat phone mobile telephone
    tel fax email e-mail mail contact website site web url link links http https ftp id ids user-id username login
    password pin code number no account iban job work works employer company role position title occupation profession
    school university studies education degree skills skill languages language hobby hobbies interests interest likes
    dislikes like dislike loves hates favorite favorites favourite favourites favs preference preferences allergy
    allergies allergic diet diets food foods drink drinks breakfast lunch dinner supper snack snacks brunch meal meals
    ingredients recipe servings medication medications medicine medicines meds diagnosis symptoms condition conditions
    health height weight size sizes blood sex gender pronouns nationality religion status marital relationship family
    children kids pet pets car cars budget price cost costs total income salary rent order invoice amount quantity
    color colour colors colours subject re fw fwd from to cc bcc sent attachment attachments version model type kind
    category categories tag tags topic topics theme description details detail summary source sources reference
    references see deadline due start end duration departure arrival flight flights hotel trip travel destination
    weather mood energy sleep workout exercise training book books movie movies film films song songs music show shows
    game games morning afternoon evening night weekend holidays holiday vacation summer winter spring autumn fall
    personal private professional monday tuesday wednesday thursday friday saturday sunday mon tue tues wed thu thurs
    fri sat sun january february march april june july august september october november december
    """
    # German, Dutch.
    """
    notiz hinweis achtung wichtig anmerkung erinnerung nachtrag korrektur frage fragen antwort beispiel ergebnis fazit
    ziel ziele plan grund gründe problem lösung vorteile nachteile adresse anschrift straße ort stadt land telefon
    handy alter geburtstag beruf arbeit arbeitgeber firma schule hobbys sprachen allergien allergie
    unverträglichkeiten größe gewicht ernährung essen getränke frühstück mittagessen abendessen zutaten rezept betreff
    datum uhrzeit zeit termin preis kosten zuhause familie kinder haustiere lieblingsfarbe lieblingsessen name vorname
    nachname montag dienstag mittwoch donnerstag freitag samstag sonnabend sonntag heute gestern morgen übrigens thema
    stichwort opmerking let vraag antwoord onderwerp naam leeftijd adres stad werk maandag dinsdag woensdag donderdag
    vrijdag zaterdag zondag allergieën belangrijk
    """
    # French, Spanish, Italian, Portuguese.
    """
    remarque attention rappel question réponse exemple résultat objectif objectifs nom prénom âge adresse ville pays
    téléphone travail métier emploi école loisirs langues allergies taille poids régime petit-déjeuner déjeuner dîner
    ingrédients objet prix lundi mardi mercredi jeudi vendredi samedi dimanche aujourd'hui hier demain nota aviso
    recordatorio importante atención pregunta respuesta ejemplo objetivo objetivos nombre apellido edad dirección
    ciudad país teléfono trabajo empleo escuela aficiones idiomas alergias alergia talla peso dieta desayuno almuerzo
    comida cena ingredientes asunto precio lunes martes miércoles jueves viernes sábado domingo hoy ayer mañana
    attenzione promemoria domanda risposta esempio nome cognome età indirizzo città paese telefono lavoro scuola
    lingue allergie allergia altezza colazione pranzo cena ingredienti oggetto prezzo lunedì martedì mercoledì giovedì
    venerdì sabato domenica oggi ieri domani lembrete pergunta resposta exemplo idade endereço cidade trabalho
    alergias alergia almoço jantar segunda terça quarta quinta sexta sábado domingo hoje ontem amanhã
    """
    # Russian, Turkish, Polish, Chinese, Japanese, Korean.
    """
    заметка важно внимание напоминание вопрос ответ пример цель имя возраст адрес город телефон работа аллергия
    понедельник вторник среда четверг пятница суббота воскресенье сегодня вчера завтра кстати not soru cevap isim yaş
    adres şehir uwaga pytanie odpowiedź imię wiek miasto 注意 备注 備註 提醒 提示 重要 问题 問題 回答 例如 姓名 名字
    年龄 年齡 地址 电话 電話 工作 职业 过敏 生日 爱好 今天 昨天 明天 目标 结论 注 メモ 備考 質問 答え 例 名前 年齢
    住所 電話番号 仕事 趣味 アレルギー 今日 昨日 明日 目標 追記 메모 참고 질문 답변 이름 나이 주소 전화 직업 취미
    """
)
