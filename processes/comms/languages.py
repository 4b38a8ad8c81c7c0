"""What a report says, in each language, and how it writes numbers."""

from __future__ import annotations

from math import isfinite

DEFAULT_LANGUAGE = "en"

# {count} is a number, written as the language does where it is large.
LANGUAGES: dict[str, dict[str, str]] = {
    "en": {
        "title": "Process Execution Report",
        "title_errors": "Failed Tasks in Process",
        "summary": "Summary",
        "tasks": "Tasks",
        "success": "Succeeded",
        "errored": "Failed",
        "skipped": "Skipped",
        "pending": "Not run",
        "duration": "Duration",
        "runner": "Runner",
        "failures": "Failures",
        "function": "Function",
        "time": "Time",
        "attempts": "Attempts",
        "impact": "Skipped because of this failure",
        "arguments": "Arguments",
        "variables": "Variables",
        "location": "Where",
        "traceback": "Traceback",
        "no_failures": "No task failed.",
        "more_characters": "… {count} more characters",
        "more_failures": "Failed tasks without details, to keep this message small: {count}",
        "more_tasks": "Tasks that are not shown, to keep this message small: {count}",
        "more_names": "and {count} more",
        "colon": ": ",
    },
    "es": {
        "title": "Informe de ejecución del proceso",
        "title_errors": "Tareas fallidas en el proceso",
        "summary": "Resumen",
        "tasks": "Tareas",
        "success": "Correctas",
        "errored": "Fallidas",
        "skipped": "Omitidas",
        "pending": "No ejecutadas",
        "duration": "Duración",
        "runner": "Ejecutor",
        "failures": "Fallos",
        "function": "Función",
        "time": "Tiempo",
        "attempts": "Intentos",
        "impact": "Omitidas a causa de este fallo",
        "arguments": "Argumentos",
        "variables": "Variables locales",
        "location": "Ubicación",
        "traceback": "Traza de la pila",
        "no_failures": "No falló ninguna tarea.",
        "more_characters": "… {count} caracteres más",
        "more_failures": "Tareas fallidas sin detalles, para acortar el mensaje: {count}",
        "more_tasks": "Tareas que no se muestran, para acortar el mensaje: {count}",
        "more_names": "y {count} más",
        "colon": ": ",
    },
    "pt": {
        "title": "Relatório de execução do processo",
        "title_errors": "Tarefas com falha no processo",
        "summary": "Resumo",
        "tasks": "Tarefas",
        "success": "Concluídas",
        "errored": "Com falha",
        "skipped": "Ignoradas",
        "pending": "Não executadas",
        "duration": "Duração",
        "runner": "Executor",
        "failures": "Falhas",
        "function": "Função",
        "time": "Tempo",
        "attempts": "Tentativas",
        "impact": "Ignoradas por causa desta falha",
        "arguments": "Argumentos",
        "variables": "Variáveis",
        "location": "Local",
        "traceback": "Rastreamento de pilha",
        "no_failures": "Nenhuma tarefa falhou.",
        "more_characters": "… mais {count} caracteres",
        "more_failures": "Tarefas com falha sem detalhes, para encurtar a mensagem: {count}",
        "more_tasks": "Tarefas não mostradas, para encurtar a mensagem: {count}",
        "more_names": "e mais {count}",
        "colon": ": ",
    },
    "fr": {
        "title": "Rapport d'exécution du processus",
        "title_errors": "Tâches en échec dans le processus",
        "summary": "Résumé",
        "tasks": "Tâches",
        "success": "Réussies",
        "errored": "En échec",
        "skipped": "Ignorées",
        "pending": "Non exécutées",
        "duration": "Durée",
        "runner": "Exécuteur",
        "failures": "Échecs",
        "function": "Fonction",
        "time": "Temps",
        "attempts": "Tentatives",
        "impact": "Ignorées à cause de cet échec",
        "arguments": "Arguments reçus",
        "variables": "Variables locales",
        "location": "Emplacement",
        "traceback": "Pile d'appels",
        "no_failures": "Aucune tâche n'a échoué.",
        "more_characters": "… {count} caractères de plus",
        "more_failures": "Tâches en échec sans détails, pour abréger le message\u00a0: {count}",
        "more_tasks": "Tâches non affichées, pour abréger le message\u00a0: {count}",
        "more_names": "et {count} autres",
        "colon": "\u00a0: ",
    },
    "de": {
        "title": "Ausführungsbericht des Prozesses",
        "title_errors": "Fehlgeschlagene Aufgaben im Prozess",
        "summary": "Zusammenfassung",
        "tasks": "Aufgaben",
        "success": "Erfolgreich",
        "errored": "Fehlgeschlagen",
        "skipped": "Übersprungen",
        "pending": "Nicht ausgeführt",
        "duration": "Dauer",
        "runner": "Ausgeführt mit",
        "failures": "Fehler",
        "function": "Funktion",
        "time": "Zeit",
        "attempts": "Versuche",
        "impact": "Deswegen übersprungen",
        "arguments": "Argumente",
        "variables": "Variablen",
        "location": "Stelle",
        "traceback": "Stacktrace",
        "no_failures": "Keine Aufgabe ist fehlgeschlagen.",
        "more_characters": "… {count} weitere Zeichen",
        "more_failures": "Fehlgeschlagene Aufgaben ohne Details, damit die Nachricht kurz bleibt: {count}",
        "more_tasks": "Nicht gezeigte Aufgaben, damit die Nachricht kurz bleibt: {count}",
        "more_names": "und {count} weitere",
        "colon": ": ",
    },
    "it": {
        "title": "Rapporto di esecuzione del processo",
        "title_errors": "Attività non riuscite nel processo",
        "summary": "Riepilogo",
        "tasks": "Attività",
        "success": "Riuscite",
        "errored": "Non riuscite",
        "skipped": "Saltate",
        "pending": "Non eseguite",
        "duration": "Durata",
        "runner": "Esecutore",
        "failures": "Errori",
        "function": "Funzione",
        "time": "Tempo",
        "attempts": "Tentativi",
        "impact": "Saltate a causa di questo errore",
        "arguments": "Argomenti",
        "variables": "Variabili",
        "location": "Posizione",
        "traceback": "Traccia dello stack",
        "no_failures": "Nessuna attività è fallita.",
        "more_characters": "… altri {count} caratteri",
        "more_failures": "Attività non riuscite senza dettagli, per abbreviare il messaggio: {count}",
        "more_tasks": "Attività non mostrate, per abbreviare il messaggio: {count}",
        "more_names": "e altre {count}",
        "colon": ": ",
    },
}


def report_title(language: str, errors_only: bool) -> str:
    """Return the title of a report in a language."""
    return LANGUAGES[language]["title_errors" if errors_only else "title"]


def spelled_number(language: str, value: int) -> str:
    """Write a whole number with the language's mark between thousands."""
    mark = {"en": ",", "fr": "\u202f", "es": "\u202f"}.get(language, ".")
    return f"{value:,}".replace(",", mark)


def spelled_duration(language: str, seconds: float) -> str:
    """Write a duration in units that all six languages share."""
    if seconds < 0.001:
        return "< 1 ms"
    if seconds < 0.9995:
        return f"{1000 * seconds:.0f} ms"
    if seconds < 59.95:
        text = f"{seconds:.1f} s"
        return text if language == "en" else text.replace(".", ",")
    if not isfinite(seconds):  # of a report that was made by hand
        return f"{seconds} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{spelled_number(language, minutes // 60)} h {minutes % 60} min"
