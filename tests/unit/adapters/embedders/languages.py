"""Six statements in several languages, each with a question that only it answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

Pairs = Sequence[tuple[str, str]]

KNOWN: Final[Mapping[str, Pairs]] = {
    "english": [
        ("I am allergic to peanuts", "What food must I avoid?"),
        ("My sister lives in Oslo", "Where is my sister's home?"),
        ("The train leaves at eight", "When does the train go?"),
        ("I bought a red bicycle", "What color is my bike?"),
        ("Our cat sleeps all day", "What does the cat do?"),
        ("He plays the violin well", "Which instrument does he play?"),
    ],
}
PARTLY: Final[Mapping[str, Pairs]] = {
    "german": [
        ("Ich bin allergisch gegen Erdnüsse", "Welches Essen muss ich meiden?"),
        ("Meine Schwester wohnt in Oslo", "Wo wohnt meine Schwester?"),
        ("Der Zug fährt um acht", "Wann fährt der Zug?"),
        ("Ich habe ein rotes Fahrrad gekauft", "Welche Farbe hat mein Fahrrad?"),
        ("Unsere Katze schläft den ganzen Tag", "Was macht die Katze?"),
        ("Er spielt gut Geige", "Welches Instrument spielt er?"),
    ],
    "french": [
        ("Je suis allergique aux arachides", "Quel aliment dois-je éviter ?"),
        ("Ma sœur habite à Oslo", "Où habite ma sœur ?"),
        ("Le train part à huit heures", "Quand part le train ?"),
        ("J'ai acheté un vélo rouge", "De quelle couleur est mon vélo ?"),
        ("Notre chat dort toute la journée", "Que fait le chat ?"),
        ("Il joue bien du violon", "De quel instrument joue-t-il ?"),
    ],
    "spanish": [
        ("Soy alérgico a los cacahuetes", "¿Qué comida debo evitar?"),
        ("Mi hermana vive en Oslo", "¿Dónde vive mi hermana?"),
        ("El tren sale a las ocho", "¿Cuándo sale el tren?"),
        ("Compré una bicicleta roja", "¿De qué color es mi bicicleta?"),
        ("Nuestro gato duerme todo el día", "¿Qué hace el gato?"),
        ("Él toca bien el violín", "¿Qué instrumento toca?"),
    ],
    "polish": [
        ("Mam uczulenie na orzeszki", "Jakiego jedzenia unikam?"),
        ("Moja siostra mieszka w Oslo", "Gdzie mieszka moja siostra?"),
        ("Pociąg odjeżdża o ósmej", "Kiedy odjeżdża pociąg?"),
        ("Kupiłem czerwony rower", "Jakiego koloru jest rower?"),
        ("Nasz kot śpi cały dzień", "Co robi kot?"),
        ("On dobrze gra na skrzypcach", "Na czym on gra?"),
    ],
    "turkish": [
        ("Fıstığa alerjim var", "Hangi yemekten kaçınmalıyım?"),
        ("Kız kardeşim Oslo'da yaşıyor", "Kız kardeşim nerede yaşıyor?"),
        ("Tren sekizde kalkıyor", "Tren ne zaman kalkıyor?"),
        ("Kırmızı bir bisiklet aldım", "Bisikletim ne renk?"),
        ("Kedimiz bütün gün uyur", "Kedi ne yapar?"),
        ("İyi keman çalıyor", "Hangi çalgıyı çalıyor?"),
    ],
    "vietnamese": [
        ("Tôi bị dị ứng đậu phộng", "Tôi phải tránh món gì?"),
        ("Chị tôi sống ở Oslo", "Chị tôi sống ở đâu?"),
        ("Tàu chạy lúc tám giờ", "Khi nào tàu chạy?"),
        ("Tôi mua xe đạp đỏ", "Xe đạp màu gì?"),
        ("Mèo ngủ cả ngày", "Con mèo làm gì?"),
        ("Anh ấy chơi vĩ cầm", "Anh ấy chơi nhạc cụ nào?"),
    ],
}
UNKNOWN: Final[Mapping[str, Pairs]] = {
    "russian": [
        ("У меня аллергия на арахис", "Какой еды мне избегать?"),
        ("Моя сестра живёт в Осло", "Где живёт моя сестра?"),
        ("Поезд отправляется в восемь", "Когда отправляется поезд?"),
        ("Я купил красный велосипед", "Какого цвета велосипед?"),
        ("Наша кошка спит весь день", "Что делает кошка?"),
        ("Он хорошо играет на скрипке", "На чём он играет?"),
    ],
    "greek": [
        ("Είμαι αλλεργικός στα φιστίκια", "Ποιο φαγητό να αποφεύγω;"),
        ("Η αδερφή μου μένει στο Όσλο", "Πού μένει η αδερφή μου;"),
        ("Το τρένο φεύγει στις οκτώ", "Πότε φεύγει το τρένο;"),
        ("Αγόρασα κόκκινο ποδήλατο", "Τι χρώμα έχει το ποδήλατο;"),
        ("Η γάτα κοιμάται όλη μέρα", "Τι κάνει η γάτα;"),
        ("Παίζει καλά βιολί", "Ποιο όργανο παίζει;"),
    ],
    "arabic": [
        ("لدي حساسية من الفول السوداني", "ما الطعام الذي أتجنبه؟"),
        ("أختي تعيش في أوسلو", "أين تعيش أختي؟"),
        ("يغادر القطار في الثامنة", "متى يغادر القطار؟"),
        ("اشتريت دراجة حمراء", "ما لون دراجتي؟"),
        ("قطتنا تنام طوال اليوم", "ماذا تفعل القطة؟"),
        ("هو يعزف الكمان جيدا", "على أي آلة يعزف؟"),
    ],
    "hebrew": [
        ("אני אלרגי לבוטנים", "ממה אסור לי לאכול?"),
        ("אחותי גרה באוסלו", "איפה אחותי גרה?"),
        ("הרכבת יוצאת בשמונה", "מתי הרכבת יוצאת?"),
        ("קניתי אופניים אדומים", "מה צבע האופניים?"),
        ("החתול ישן כל היום", "מה החתול עושה?"),
        ("הוא מנגן בכינור", "באיזה כלי הוא מנגן?"),
    ],
    "hindi": [
        ("मुझे मूंगफली से एलर्जी है", "मुझे क्या नहीं खाना चाहिए?"),
        ("मेरी बहन ओस्लो में रहती है", "मेरी बहन कहाँ रहती है?"),
        ("ट्रेन आठ बजे जाती है", "ट्रेन कब जाती है?"),
        ("मैंने लाल साइकिल खरीदी", "साइकिल किस रंग की है?"),
        ("हमारी बिल्ली दिन भर सोती है", "बिल्ली क्या करती है?"),
        ("वह वायलिन बजाता है", "वह कौन सा बाजा बजाता है?"),
    ],
    "bengali": [
        ("আমার চিনাবাদামে অ্যালার্জি", "আমি কী খাব না?"),
        ("আমার বোন অসলোতে থাকে", "আমার বোন কোথায় থাকে?"),
        ("ট্রেন আটটায় ছাড়ে", "ট্রেন কখন ছাড়ে?"),
        ("লাল সাইকেল কিনেছি", "সাইকেলের রং কী?"),
        ("বিড়াল সারাদিন ঘুমায়", "বিড়াল কী করে?"),
        ("সে ভালো বেহালা বাজায়", "সে কী বাজায়?"),
    ],
    "tamil": [
        ("எனக்கு வேர்க்கடலை ஒவ்வாமை", "நான் என்ன சாப்பிடக்கூடாது?"),
        ("என் அக்கா ஓஸ்லோவில் வசிக்கிறார்", "என் அக்கா எங்கே வசிக்கிறார்?"),
        ("ரயில் எட்டு மணிக்கு புறப்படும்", "ரயில் எப்போது புறப்படும்?"),
        ("சிவப்பு மிதிவண்டி வாங்கினேன்", "மிதிவண்டி என்ன நிறம்?"),
        ("பூனை நாள் முழுவதும் தூங்குகிறது", "பூனை என்ன செய்கிறது?"),
        ("அவர் வயலின் வாசிப்பார்", "அவர் என்ன வாசிப்பார்?"),
    ],
    "chinese": [
        ("我对花生过敏", "我不能吃什么？"),
        ("我姐姐住在奥斯陆", "我姐姐住在哪里？"),
        ("火车八点开", "火车几点开？"),
        ("我买了一辆红色自行车", "自行车是什么颜色？"),
        ("猫整天睡觉", "猫做什么？"),
        ("他小提琴拉得好", "他会什么乐器？"),
    ],
    "japanese": [
        ("私はピーナッツアレルギーです", "食べられないものは何？"),
        ("姉はオスロに住んでいます", "姉はどこに住んでいますか？"),
        ("電車は八時に出ます", "電車はいつ出ますか？"),
        ("赤い自転車を買いました", "自転車は何色ですか？"),
        ("うちの猫は一日中寝ている", "猫は何をしている？"),
        ("彼はバイオリンが上手だ", "彼の楽器は何？"),
    ],
    "korean": [
        ("저는 땅콩 알레르기가 있어요", "무엇을 먹으면 안 되나요?"),
        ("누나는 오슬로에 살아요", "누나는 어디에 살아요?"),
        ("기차는 여덟 시에 떠나요", "기차는 언제 떠나요?"),
        ("빨간 자전거를 샀어요", "자전거는 무슨 색이에요?"),
        ("고양이는 하루 종일 자요", "고양이는 뭐 해요?"),
        ("그는 바이올린을 잘 켜요", "그는 무슨 악기를 켜요?"),
    ],
    "thai": [
        ("ผมแพ้ถั่ว", "ผมกินอะไรไม่ได้"),
        ("พี่สาวอยู่ที่ออสโล", "พี่สาวอยู่ที่ไหน"),
        ("รถไฟออกแปดโมง", "รถไฟออกกี่โมง"),
        ("ฉันซื้อจักรยานสีแดง", "จักรยานสีอะไร"),
        ("แมวนอนทั้งวัน", "แมวทำอะไร"),
        ("เขาเล่นไวโอลินเก่ง", "เขาเล่นดนตรีอะไร"),
    ],
    "amharic": [
        ("ለኦቾሎኒ አለርጂ አለብኝ", "ምን መብላት የለብኝም?"),
        ("እህቴ ኦስሎ ትኖራለች", "እህቴ የት ትኖራለች?"),
        ("ባቡሩ በስምንት ይነሳል", "ባቡሩ መቼ ይነሳል?"),
        ("ቀይ ብስክሌት ገዛሁ", "ብስክሌቱ ምን ቀለም ነው?"),
        ("ድመቷ ቀኑን ሙሉ ትተኛለች", "ድመቷ ምን ታደርጋለች?"),
        ("ቫዮሊን በደንብ ይጫወታል", "ምን ይጫወታል?"),
    ],
    "georgian": [
        ("არაქისზე ალერგია მაქვს", "რა არ უნდა ვჭამო?"),
        ("ჩემი და ოსლოში ცხოვრობს", "სად ცხოვრობს ჩემი და?"),
        ("მატარებელი რვაზე გადის", "როდის გადის მატარებელი?"),
        ("წითელი ველოსიპედი ვიყიდე", "რა ფერისაა ველოსიპედი?"),
        ("კატას მთელი დღე სძინავს", "რას აკეთებს კატა?"),
        ("ის ვიოლინოზე უკრავს", "რაზე უკრავს ის?"),
    ],
    "armenian": [
        ("Ես ալերգիա ունեմ գետնանուշից", "Ի՞նչ չպետք է ուտեմ"),
        ("Քույրս ապրում է Օսլոյում", "Որտե՞ղ է ապրում քույրս"),
        ("Գնացքը մեկնում է ութին", "Ե՞րբ է մեկնում գնացքը"),
        ("Գնեցի կարմիր հեծանիվ", "Ի՞նչ գույն է հեծանիվը"),
        ("Կատուն քնում է ամբողջ օրը", "Ի՞նչ է անում կատուն"),
        ("Նա լավ ջութակ է նվագում", "Ի՞նչ է նա նվագում"),
    ],
}
