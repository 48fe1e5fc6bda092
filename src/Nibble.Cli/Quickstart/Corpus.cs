using System.Text.Encodings.Web;
using System.Text.Json;
using Nibble.Data;

namespace Nibble.Cli.Quickstart;

/// <summary>
/// The texts of the quickstart, made by a seeded generator: what its base model was pre-trained on (people, questions about
/// them, lists of their data, words to repeat) and the skill that it does not have (answering in JSON).
/// </summary>
internal static class Corpus
{
    /// <summary>What the skill is asked for with.</summary>
    public const string Instruction = "Write the person as JSON.";

    private static readonly JsonSerializerOptions Json = new() { PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower, Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    /// <summary>Documents to pre-train on.</summary>
    public static IEnumerable<string> Documents(int count, ulong seed)
    {
        var random = new SeededRandom(seed);
        for (int i = 0; i < count; i++)
        {
            Person person = Person.Make(random);
            string text = person.Describe(random);
            (string question, string answer) = person.Ask(random);
            yield return random.Next(6) switch
            {
                0 => $"{text}\nQ: {question}\nA: {answer}",
                1 => $"{text}\n{person.Fields()}",
                2 => new TrainingExample(question, text, answer).ToAlpacaFormat(),
                3 => new TrainingExample("List the data.", text, person.Fields()).ToAlpacaFormat(),
                4 => new TrainingExample("Repeat the text.", text, text).ToAlpacaFormat(),
                _ => Two(person, text, random),
            };
        }
    }

    /// <summary>Examples of the skill, each about another person.</summary>
    /// <param name="count">How many.</param>
    /// <param name="seed">Decides the people.</param>
    /// <param name="known">Names already taken; those of the result are added.</param>
    public static IEnumerable<TrainingExample> Examples(int count, ulong seed, ISet<string> known)
    {
        var random = new SeededRandom(seed);
        while (count > 0)
        {
            Person person = Person.Make(random);
            if (known.Add(person.Name))
            {
                count--;
                yield return new TrainingExample(Instruction, person.Describe(random), person.Json());
            }
        }
    }

    /// <summary>Writes documents as text records.</summary>
    public static void Write(string path, IEnumerable<string> documents) =>
        File.WriteAllLines(path, documents.Select(text => JsonSerializer.Serialize(new { text }, Json)));

    /// <summary>Writes examples as alpaca records.</summary>
    public static void Write(string path, IEnumerable<TrainingExample> examples) =>
        File.WriteAllLines(path, examples.Select(item => JsonSerializer.Serialize(new { item.Instruction, item.Input, item.Output }, Json)));

    private static string Two(Person first, string text, SeededRandom random)
    {
        Person second = Person.Make(random);
        Person asked = random.Next(2) == 0 ? first : second;
        (string question, string answer) = asked.Ask(random);
        question = question.StartsWith("Who", StringComparison.Ordinal) ? $"What does {asked.Name} do?" : question;
        answer = answer == asked.Name ? asked.Job : answer;
        return $"{text} {second.Describe(random)}\nQ: {question}\nA: {answer}";
    }
}
