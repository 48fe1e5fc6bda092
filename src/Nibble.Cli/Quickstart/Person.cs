using System.Globalization;

namespace Nibble.Cli.Quickstart;

/// <summary>An invented person, and how texts speak of one.</summary>
internal sealed record Person(string Name, int Age, string City, string Job, string Pet)
{
    private static readonly string[] Starts = ["Al", "Be", "Ca", "Da", "El", "Fi", "Ga", "Ha", "Il", "Jo", "Ka", "Lu", "Ma", "Ni", "Ol", "Pe", "Ro", "Sa", "Ti", "Vi"];
    private static readonly string[] Middles = ["ra", "ne", "li", "mo", "ta", "ri", "so", "ve", "da", "lu"];
    private static readonly string[] Ends = ["n", "s", "ra", "lia", "nor", "ta", "mi", "ne", "ko", "rin"];
    private static readonly string[] Families = ["son", "berg", "man", "ley", "wood", "field", "ström", "ford", "well", "mark"];
    private static readonly string[] Cities =
    [
        "Oslo", "Paris", "Rome", "Lima", "Cairo", "Delhi", "Tokyo", "Berlin", "Madrid", "Lisbon", "Vienna", "Dublin", "Athens", "Prague", "Warsaw",
        "Boston", "Denver", "Quito", "Lagos", "Accra", "Hanoi", "Seoul", "Perth", "Bergen", "Geneva",
    ];

    private static readonly string[] Jobs =
    [
        "baker", "teacher", "nurse", "pilot", "farmer", "singer", "lawyer", "painter", "driver", "writer", "doctor", "cook", "tailor", "miner",
        "judge", "dancer", "plumber", "barber", "chemist", "editor",
    ];

    private static readonly string[] Pets = ["cat", "dog", "parrot", "rabbit", "turtle", "goldfish", "hamster", "pony", "lizard", "goose"];

    public static Person Make(SeededRandom random)
    {
        string first = random.Pick(Starts) + random.Pick(Middles) + random.Pick(Ends);
        string last = random.Pick(Starts) + random.Pick(Middles) + random.Pick(Families);
        return new Person($"{first} {last}", 18 + random.Next(72), random.Pick(Cities), random.Pick(Jobs), random.Pick(Pets));
    }

    /// <summary>A sentence or two with everything about the person.</summary>
    public string Describe(SeededRandom random) => random.Next(6) switch
    {
        0 => $"{Name} is {Age} years old, lives in {City}, works as a {Job} and has a {Pet}.",
        1 => $"{Name} is a {Job} from {City}. At {Age}, {Name} shares a home with a {Pet}.",
        2 => $"In {City} lives {Name}, aged {Age}, who works as a {Job} and owns a {Pet}.",
        3 => $"Meet {Name}, a {Age} year old {Job} in {City} with a {Pet}.",
        4 => $"The {Job} {Name} has a {Pet}, is {Age} years old and lives in {City}.",
        _ => $"{Name} has a {Pet}. {Name} is a {Job} of {Age} and lives in {City}.",
    };

    public (string Question, string Answer) Ask(SeededRandom random) => random.Next(5) switch
    {
        0 => ($"How old is {Name}?", Age.ToString(CultureInfo.InvariantCulture)),
        1 => ($"Where does {Name} live?", City),
        2 => ($"What does {Name} do?", Job),
        3 => ($"Which pet does {Name} have?", Pet),
        _ => ("Who is this about?", Name),
    };

    public string Fields() => $"name: {Name}\nage: {Age}\ncity: {City}\njob: {Job}\npet: {Pet}";

    /// <summary>Who, where and what, in the form that the base model has never seen.</summary>
    public string Json() => $"{{\"name\": \"{Name}\", \"city\": \"{City}\", \"job\": \"{Job}\"}}";
}
