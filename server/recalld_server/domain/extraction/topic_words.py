"""The table of topics that `includes` and `excludes` can name: their names, categories, words and patterns.

Two words joined by "_" match only as neighbours. The names are English, German, Spanish and French. Texts in all
languages are matched by the same words, and by patterns for things with a fixed form: numbers, addresses, sums.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic. `names` identify it in a request and in a text, `words` and `pattern` only in a text.

    `categories` (built-in ones) and `parts` (other topics) are completely included in the topic.
    """

    names: str
    categories: tuple[str, ...] = ()
    words: str = ""
    pattern: str = ""
    parts: tuple[str, ...] = ()


_PHONE: Final = (
    r"(?<![\w.])(?:\+|00)\d[\d ()./-]{5,18}\d|(?<!\d)\(?\d{3}\)?[-. /]\d{3}[-. ]\d{4}(?!\d)"
    r"|(?<![\d.,])0\d{1,4}[-/ ]\d{3,4}(?:[- ]?\d{2,4}){1,3}(?!\d)|(?<![\d.,])0\d{1,4}[-/ ]\d{4,10}(?!\d)"
)
_EMAIL: Final = r"[\w.+-]{1,64}@[\w-]{1,63}\.\w"
_SSN: Final = r"(?<![\d-])\d{3}[- ]\d{2}[- ]\d{4}(?![\d-])"
_CARD: Final = r"(?<!\d)\d(?:[ -]?\d){12,18}(?!\d)"
_IBAN: Final = r"\b[a-z]{2}\d{2}(?: ?[a-z\d]{4}){2,7}"
_SUM: Final = (
    r"(?:[$€£¥₹]|\b(?:usd|eur|gbp|chf)) ?\d"
    r"|\d ?(?:[€£$¥₹]|(?:k|grand|bucks|usd|eur|gbp|chf|euros?|dollars?|pounds?|francs?|pesos?|yen)\b)"
)
_STREET: Final = (
    r"\b\d{1,5}[a-z]? (?:[\w'.-]{1,30} ){1,2}(?:street|st|avenue|ave|road|rd|lane|ln|drive|dr)\b"
    r"|\w(?:straße|strasse|gasse|allee|platz|weg) \d|\b\d{1,4},? (?:rue|avenue|boulevard|chemin|place) \w"
    r"|\b(?:calle|avenida|plaza) [\w'. -]{1,40}\d"
)
# Typical endings of the names of drugs, diseases and operations.
_MEDICAL: Final = (
    r"\b\w{3,30}(?:itis|osis|ectomy|plasty|plegia|cillin|mycin|statin|prazole|sartan|formina?e?|azepam|oxetine|olol|dipine"
    r"|profen|triptan|zumab|tinib)\b|(?:carcin|melan|lymph|glauc|sarc|myel|aden)oma|(?:leuk|an|glyc)a?emia"
    r"|(?:neur|my|retin|nephr)opathy|\b\d{1,4} ?(?:mg|mcg|µg)\b"
)

TOPICS: Final[dict[str, Topic]] = {
    "health": Topic(
        names="""
        health medical medicine medication illness disease diagnosis disability wellbeing allergy medications
        gesundheit gesundheitlich medizin medizinisch krankheit krankheiten medikamente allergien salud médico médica
        médicos médicas enfermedad enfermedades medicamentos santé médical médicale médicaux maladie maladies
        médicaments
        """,
        categories=("health",),
        words="""
        hiv aids std herpes hepatitis tumor tumour chemo chemotherapy radiation stroke seizure epilepsy epileptic
        parkinson alzheimer dementia sclerosis arthritis eczema psoriasis migraines hypertension cholesterol insulin
        metformin ibuprofen aspirin paracetamol antidepressant antidepressants antibiotic antibiotics steroid steroids
        xanax prozac ozempic ritalin adderall lithium inhaler pacemaker wheelchair disabled blind deaf bipolar
        schizophrenia ptsd ocd anorexia bulimia panic psychiatrist psychologist psychiatric suicidal suicide addiction
        addict addicted alcoholic rehab clinic surgeon operation miscarriage abortion ivf infertile menopause
        period_pain endometriosis thyroid kidney liver lung transplant biopsy mri ultrasound infection infected virus
        contagious fracture broken_leg broken_arm bmi obese obesity overweight dosage dose hospitalised hospitalized
        ward patient remission relapse chronic syndrome disorder immune autoimmune lupus crohn colitis ulcer reflux
        gout anemia allergen epipen condition hearing_aid krank krebs arzt ärztin krankenhaus tablette tabletten
        schwanger depression blutdruck herzinfarkt schlaganfall operiert allergisch diagnostiziert behinderung enfermo
        enferma cáncer hospital pastilla pastillas embarazada depresión alérgico alérgica diabético diabética malade
        cancer hôpital médecin pilule enceinte dépression allergique diabétique diabète
        """,
        pattern=_MEDICAL,
    ),
    "finance": Topic(
        names="""
        finance finances financial money income salary wage wages banking bank economic wealth tax taxes finanzen
        finanziell finanzielle geld einkommen gehalt finanzas financiero financiera dinero ingresos salario sueldo
        financier financière argent revenus salaire
        """,
        words="""
        earn earns earned earning earnings mortgage loan loans debt debts owe owes owed saving savings invest invests
        invested investment investments stock stocks shares portfolio pension 401k ira credit credit_score creditor
        account rent budget afford paid pays pay payment bonus inheritance inherited bankrupt bankruptcy overdraft
        overdrawn rich poor broke wealthy millionaire crypto bitcoin ethereum dividend dividends insurance alimony
        benefits unemployment_benefit welfare refund irs allowance cash paycheck raise net_worth verdiene verdient
        hypothek schulden kredit miete steuer steuern konto erspartes aktien rente gano gana hipoteca deuda deudas
        préstamo alquiler impuestos cuenta ahorros gagne hypothèque dette dettes prêt loyer impôts compte épargne
        crédit
        """,
        pattern=f"{_SUM}|{_IBAN}",
        parts=("payment card",),
    ),
    "payment card": Topic(
        names="""
        credit_card debit_card card_number bank_account account_number iban cvv kreditkarte kreditkarten
        kreditkartennummer kreditkartennummern kontonummer kontonummern bankverbindung
        """,
        words="visa_card mastercard amex sort_code routing_number swift_code tarjeta carte_bancaire",
        pattern=f"{_CARD}|{_IBAN}",
    ),
    "contact": Topic(
        names="""
        contact contacts phone phones telephone phone_number telephone_number mobile_number email emails e-mail
        kontakt kontakte kontaktdaten telefon telefonnummer telefonnummern handynummer handynummern rufnummer
        rufnummern contacto teléfono correo coordonnées téléphone courriel
        """,
        words="fax whatsapp telegram_handle call_me reach_me",
        pattern=f"{_PHONE}|{_EMAIL}",
        parts=("address",),
    ),
    "address": Topic(
        names="""
        address addresses street postcode zip zip_code adresse adressen anschrift anschriften wohnort postleitzahl
        postleitzahlen dirección domicilio código_postal adresses
        """,
        words="apartment flat_number house_number",
        pattern=_STREET,
    ),
    "location": Topic(
        names="""
        location locations whereabouts residence place_of_residence hometown where city country ort standort wohnort
        ubicación residencia lugar localisation lieu résidence
        """,
        words="""
        live lives lived living moved moving resides reside based neighbourhood neighborhood gps born_in wohne wohnt
        lebe vivo vive habite
        """,
        pattern=r"\b(?:is|am|i'm|come|comes|originally) from\b|-?\d{1,3}\.\d{3,}, ?-?\d{1,3}\.\d{3,}",
        parts=("address",),
    ),
    "social security number": Topic(
        names="""
        ssn ssns social_security national_insurance insurance_number sozialversicherungsnummer
        sozialversicherungsnummern seguridad_social sécurité_sociale
        """,
        pattern=_SSN,
    ),
    "identity": Topic(
        names="""
        identity identification id ids identifier identifiers id_number passport license licence driver's_license
        ausweis personalausweis reisepass führerschein pasaporte dni identidad passeport identité permis
        """,
        words="tax_id plate_number license_plate visa_number nhs_number steuernummer",
        parts=("social security number",),
    ),
    "age": Topic(
        names="""
        age birthday birthdate date_of_birth birth alter geburtstag geburtsdatum edad cumpleaños âge anniversaire
        """,
        words="years_old born aged",
        pattern=r"\b(?:is|am|i'm) \d{1,3}(?: years| and|[.!,]|$)|\bborn (?:in|on)\b",
    ),
    "personal data": Topic(
        names="""
        personal_data personal_information personal_info personal_details private_data private_information
        private_details private_info pii personally_identifiable sensitive_data sensitive_information privacy
        persönliche persönliche_daten personenbezogene datenschutz datos_personales información_personal
        données_personnelles informations_personnelles
        """,
        categories=("personal_details",),
        words="nationality gender pronouns surname maiden_name",
        pattern=r"\b\d{1,3}(?:\.\d{1,3}){3}\b",
        parts=("contact", "location", "identity", "age", "payment card", "credentials"),
    ),
    "credentials": Topic(
        names="""
        password passwords passcode passcodes passphrase credential credentials secret secrets login logins pin
        api_key api_keys access_token access_tokens passwort passwörter kennwort zugangsdaten geheimnis contraseña
        contraseñas clave passe
        """,
        words="""
        pin_code security_code door_code gate_code unlock_code otp 2fa username seed_phrase private_key token
        """,
        pattern=r"\b(?:sk|pk|ghp|gho|xox[abp]|akia|glpat)[-_a-z\d]{12,}|\bpw ?[:=]",
    ),
    "family": Topic(
        names="""
        family families relatives relationship relationships children kids partner partners marriage familie verwandte
        verwandtschaft beziehung kinder ehe familia parientes hijos pareja famille enfants proches couple
        """,
        categories=("family",),
        words="""
        boyfriend girlfriend ex ex-wife ex-husband divorce divorced separated widow widower dating in-laws stepdad
        stepmom godmother godfather foster adopted adoption mutter vater mama papa bruder schwester frau mann ehefrau
        ehemann sohn tochter tante onkel oma opa geschwister eltern freundin verheiratet geschieden madre padre
        hermano hermana esposa esposo marido hijo hija tía tío abuela abuelo casado casada divorciado mère père frère
        soeur sœur femme mari fils fille oncle grand-mère grand-père marié mariée divorcé
        """,
    ),
    "work": Topic(
        names="""
        work job jobs career employment employer profession professional occupation business workplace arbeit beruf
        beruflich arbeitgeber karriere trabajo empleo profesión travail emploi profession métier
        """,
        categories=("professional_details",),
        words="""
        unemployed layoff fired sacked shift hr payroll contractor apprentice union arbeite arbeitet kollege kollegin
        chef firma büro trabajo trabaja empresa jefe oficina travaille entreprise collègue patron bureau
        """,
    ),
    "education": Topic(
        names="""
        education school schooling studies bildung schule studium educación escuela estudios éducation école études
        """,
        words="""
        university college degree student grade grades exam exams teacher class classes kindergarten bachelor phd
        diploma graduated thesis homework universität uni abitur universidad université lycée
        """,
    ),
    "food": Topic(
        names="""
        food foods eating diet diets nutrition meals cooking drinks essen ernährung comida alimentación dieta
        nourriture alimentation cuisine régime
        """,
        categories=("food", "food_preferences"),
        words="""
        eat eats eating drink drinks drank dinner lunch vegetarisch vegetarier vegan käse fleisch brot kaffee bier
        wein vegetariano vegetariana queso carne café vino cerveza végétarien végétarienne fromage viande vin bière
        """,
    ),
    "religion": Topic(
        names="""
        religion religions religious faith belief beliefs spirituality glaube religiös religiös religión fe creencias
        religieux religieuse foi croyances
        """,
        words="""
        god church mosque synagogue temple pray prays prayer praying bible quran koran torah christian christianity
        catholic protestant orthodox evangelical baptist lutheran methodist mormon muslim islam islamic jewish judaism
        jew hindu hinduism buddhist buddhism sikh atheist atheism agnostic ramadan lent mass baptised baptized baptism
        bar_mitzvah kosher halal hijab priest pastor imam rabbi monk nun worship worships converted sermon allah jesus
        kirche moschee christ katholisch evangelisch muslimisch jüdisch beten iglesia católico católica musulmán judío
        rezar église catholique musulman juif prier messe
        """,
    ),
    "politics": Topic(
        names="""
        politics political politician elections voting politik politisch política político políticas politique
        politiques
        """,
        words="""
        vote votes voted voter election democrat democrats democratic republican republicans labour conservative
        liberal leftist socialist socialism communist communism fascist tory tories party_member ballot candidate
        parliament senator congress trump biden brexit protest protested activist activism union_member left-wing
        right-wing greens partei wähle wählt gewählt grünen spd cdu afd wahl voto votó partido elecciones parti voté
        élections gauche droite
        """,
    ),
    "sexuality": Topic(
        names="""
        sexuality sex sexual sexual_orientation orientation gender_identity sexualität sexualidad sexualité
        """,
        words="""
        gay lesbian bisexual straight_man straight_woman homosexual heterosexual queer transgender trans nonbinary
        asexual lgbt lgbtq pansexual intimacy condom contraception schwul lesbisch homosexuell
        """,
    ),
    "ethnicity": Topic(
        names="""
        ethnicity ethnic race racial origin nationality ethnie herkunft etnia raza origen ethnique origine
        """,
        words="""
        black_man black_woman white_man white_woman asian latino latina hispanic african arab indigenous immigrant
        refugee citizen migrant
        """,
    ),
    "crime": Topic(
        names="""
        crime crimes criminal criminal_record legal convictions straftaten vorstrafen delitos antecedentes crimes
        """,
        words="""
        arrested arrest convicted conviction prison jail probation parole sentenced felony misdemeanor lawsuit sued
        police stolen theft fraud dui gefängnis verhaftet cárcel arrestado arrêté
        """,
    ),
    "travel": Topic(names="travel trips reisen reise urlaub viajes viaje voyages voyage", categories=("travel",)),
    "music": Topic(names="music musik música musique", categories=("music",)),
    "sports": Topic(names="sport sports fitness deporte deportes", categories=("sports",)),
    "technology": Topic(names="technology tech technik technologie tecnología", categories=("technology",)),
    "hobbies": Topic(names="hobby hobbies hobbys freizeit leisure pastimes aficiones loisirs", categories=("hobbies",)),
    "fashion": Topic(names="fashion clothing clothes kleidung ropa vêtements", categories=("fashion",)),
    "entertainment": Topic(
        names="entertainment films movies filme películas unterhaltung divertissement", categories=("entertainment",)
    ),
    "likes": Topic(
        names="likes dislikes preferences tastes vorlieben gustos préférences",
        categories=("likes", "user_preferences", "food_preferences"),
    ),
    "milestones": Topic(names="milestones milestone achievements meilensteine hitos", categories=("milestones",)),
    "names": Topic(names="name names nombres noms namen", pattern=r"\bname(?:'s)?\b|\b(?:is|be) called\b"),
}  # fmt: skip
"""All topics by name; `parts` refer to these names."""

PATTERNS: Final = {name: re.compile(topic.pattern, re.IGNORECASE) for name, topic in TOPICS.items() if topic.pattern}
