"""Short notes as small tables hold them, in English and in other languages; all invented."""

# ruff: noqa: E501  # lists of texts read better unbroken

ENGLISH = """CC: chest pain|CC: CP\nHPI: 65M w/ CAD, DM2 p/w CP x 3d|HPI: cough and fever for 3 days
CC: s/p fall\nHPI: slipped on ice, R hip pain|CC: SOB\nPMH: COPD, CHF, OSA|HPI: n/v/d x2d\nAllergies: PCN
CC: abdominal pain|CC: AMS|HPI: 45F c/o HA, photophobia. PMH: migraine|Chief Complaint: dyspnea
CC: weakness\nHPI: L sided weakness since am|CC: syncope\nHPI: found down at home|PMH: Sjögren, Behçet, gout
CC: L leg DVT\nMEDS: Coumadin, ASA|HPI: see H&P|CC: N/V|PE: RRR, CTAB, NT/ND, no edema|CC: BRBPR\nPMH: EtOH cirrhosis
HPI: Mr. de la Cruz, seen at El Camino, LOS Angeles, has pain|CC: palpitations|CC: GI bleed|CC: fever
SH: lives in San Jose, con't tob|FH: Ménière in mother|CC: lethargy, anuria|CC: hematuria, dysuria
CC: AV block|CC: OD on Tylenol|CC: TOS|HPI: per EMS, en route GCS 8|HPI: 45 y/o M w/ CP|CC: ET tube placement|CC: DI, polyuria|Malaise and myalgia x 3d|CC: L2 fx, LES|PMH: el Nino|HPI: pt c/o HA x 2 wks|CC: r/o MI|CC: hip fx s/p MVC|PMH: Hashimoto, Graves, Crohn's|PMH: Guillain-Barré 2004|CC: Raynaud’s|PMH: DM, HTN, HLD, s/p CABG × 3|HPI: T 38.5°, BP ≥ 180|HPI: 5 µg fentanyl given|CC: N/V/D|HPI: no CP – no SOB|Meds: São Paulo vitamins|HPI: visiting from Málaga, chest pain|PMH: Waldenström's|PMH: IBS, GERD, Barrett's|CC: seizure|HPI: à la carte|HPI: Señor Gómez, 70M|HPI: Ms. Nuñez p/w dizziness|CC: fasciitis|CC: dehydration|CC: respiratory failure|CC: sepsis, UTI|CC: STEMI"""
OTHERS = {
    "German": """Husten und Fieber|Brustschmerz seit heute|Akute Atemnot, Fieber|Anamnese: Sturz auf die Hüfte|HPI: Schmerzen im Bauch
CC: Husten|Bauchschmerzen, Übelkeit, Erbrechen|Z.n. Sturz, Schmerzen rechts|Diagnose: Pneumonie rechts basal|Vorhofflimmern, Schwindel
Kopfschmerzen seit gestern|Luftnot bei Belastung|Z.n. Apoplex, Hemiparese links|Patient kollabiert zu Hause|Herzinsuffizienz NYHA III|Fraktur des Unterarms nach Sturz|Harnwegsinfekt, Dysurie|unklarer Gewichtsverlust|Aufnahme bei Synkope|Rückenschmerzen""",
    "Spanish": """dolor torácico|Paciente con fiebre|disnea y tos|HPI: dolor abdominal, vómitos|CC: cefalea intensa
Motivo de ingreso: caída|tos seca, sin fiebre|Antecedentes: hipertensión|mujer de 40 años|Dolor en la pierna derecha
cefalea y mareo|dificultad para respirar|diarrea y vomitos|sangrado rectal|paciente varon con palpitaciones|perdida de conciencia|caida en domicilio|dolor lumbar|infeccion urinaria|fractura de cadera izquierda""",
    "French": """douleur thoracique|fièvre et toux|HPI: douleurs abdominales|Motif: chute|dyspnée depuis hier
CC: céphalées|patient admis pour malaise|antécédents: hypertension artérielle|vomissements|femme de 40 ans, fièvre
maux de tete|essoufflement a l'effort|saignement digestif|perte de connaissance|palpitations depuis ce matin|douleur lombaire|fracture du col du femur|infection urinaire|diarrhees et vomissements|amaigrissement""",
    "Italian": """dolore toracico|febbre e tosse|HPI: dolore addominale|Motivo: caduta|dispnea da ieri
CC: cefalea|paziente ricoverata per febbre|anamnesi: ipertensione arteriosa|vomito e nausea|donna di 40 anni
mal di testa|difficolta respiratoria|sanguinamento rettale|perdita di coscienza|frattura del femore|infezione urinaria|dolore lombare|diarrea e vomito|astenia da due settimane|cardiopalmo""",
    "Portuguese": """dor torácica|febre e tosse|HPI: dor abdominal|Motivo: queda|dispneia desde ontem
CC: cefaleia|doente internado por febre|antecedentes: hipertensão|vómitos|mulher de 40 anos""",
    "Dutch": """pijn op de borst|koorts en hoesten|HPI: buikpijn|Reden: val van trap|kortademig sinds gisteren
CC: hoofdpijn|patiënt opgenomen met koorts|voorgeschiedenis: hypertensie|braken en misselijk|vrouw van 40 jaar""",
    "Swedish": """bröstsmärta|feber och hosta|HPI: buksmärta|Orsak: fall i hemmet|andnöd sedan igår
CC: huvudvärk|patienten inkommer med feber|tidigare sjukdomar: hypertoni|kräkningar och illamående|kvinna 40 år""",
    "Polish": """ból w klatce piersiowej|gorączka i kaszel|HPI: ból brzucha|Powód: upadek|duszność od wczoraj
CC: ból głowy|pacjentka przyjęta z gorączką|wywiad: nadciśnienie tętnicze|wymioty i nudności|kobieta lat 40""",
}  # fmt: skip
