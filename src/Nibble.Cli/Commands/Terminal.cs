using Spectre.Console;

namespace Nibble.Cli.Commands;

/// <summary>What a user sees.</summary>
internal static class Terminal
{
    /// <summary>Standard output for tables, wherever it goes now.</summary>
    public static IAnsiConsole Output => AnsiConsole.Create(new AnsiConsoleSettings { Out = new AnsiConsoleOutput(Console.Out) });

    /// <summary>Control characters as their pictures, so that data cannot command the terminal.</summary>
    /// <param name="text">The text.</param>
    /// <param name="lines">Whether line ends stay what they are.</param>
    public static string Visible(string text, bool lines) => string.Concat(text.Select(character => character switch
    {
        '\n' when lines => "\n",
        < ' ' => ((char)(0x2400 + character)).ToString(),
        '\x7F' => "\u2421",
        _ when char.IsControl(character) => "\uFFFD",
        _ => character.ToString(),
    }));
}
