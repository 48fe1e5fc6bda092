using System.Security.Cryptography;
using System.Text;
using Nibble.Modeling.ChatTemplates;
using Nibble.Modeling.Tokenizers;

namespace Nibble.Training.Prompts;

/// <summary>A chat template, and what its users call it.</summary>
/// <param name="Name"><see cref="Roles"/>, the path of a file, or null for the model's own.</param>
/// <param name="Text">Its Jinja.</param>
public sealed record NamedTemplate(string? Name, string Text)
{
    /// <summary>
    /// The name of the layout that comes with the engine: &lt;|system|&gt;, &lt;|user|&gt; and &lt;|assistant|&gt; on lines of their own, and
    /// the end token after each answer. Text to the tokenizer, so any model can learn it.
    /// </summary>
    public const string Roles = "roles";

    /// <summary>SHA-256 of the text, in hexadecimal digits.</summary>
    public string Sha256 => Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(Text)));

    /// <summary>The template of a name.</summary>
    /// <param name="name"><see cref="Roles"/> or the path of a file.</param>
    /// <param name="asker">The key or option that names it, for errors.</param>
    /// <exception cref="ArgumentException">There is no such template.</exception>
    /// <exception cref="InvalidDataException">The file is no template.</exception>
    public static NamedTemplate Find(string name, string asker)
    {
        if (name == Roles)
        {
            using var reader = new StreamReader(typeof(NamedTemplate).Assembly.GetManifestResourceStream("roles.jinja")!);
            return new NamedTemplate(name, reader.ReadToEnd());
        }

        if (!File.Exists(name))
        {
            throw new ArgumentException($"{asker} is '{name}'; it must be {Roles} or a file that holds a chat template (Jinja).");
        }

        try
        {
            string text = File.ReadAllText(name);
            _ = ChatTemplate.Parse(text);
            return new NamedTemplate(name, text);
        }
        catch (ChatTemplateException exception)
        {
            throw new InvalidDataException($"{name} is no chat template: {exception.Message}.", exception);
        }
    }

    /// <summary>A model's own template.</summary>
    /// <exception cref="InvalidDataException">It has none.</exception>
    public static NamedTemplate Own(HfTokenizer tokenizer, string model)
    {
        ArgumentNullException.ThrowIfNull(tokenizer);
        return new NamedTemplate(null, tokenizer.ChatTemplate
            ?? throw new InvalidDataException($"{model} has no chat template, which chats need; choose one, such as {Roles}."));
    }

    /// <summary>The name, and enough of the hash to tell versions apart.</summary>
    public override string ToString() => $"{(Name is null ? "the model's own template" : $"template {Name}")} (sha256 {Sha256[..12]})";
}
