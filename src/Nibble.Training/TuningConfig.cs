using Nibble.Modeling.Adapters;
using Nibble.Training.Configuration;
using Nibble.Training.Prompts;

namespace Nibble.Training;

/// <summary>What tuning on instructions and on chats have in common.</summary>
public record TuningConfig
{
    /// <summary>Whether an adapter learns, or all weights.</summary>
    public bool UseLora { get; init; } = true;

    /// <summary>Rank of the adapter.</summary>
    public int LoraR { get; init; } = 16;

    /// <summary>The adapter's update is scaled by alpha / r.</summary>
    public double LoraAlpha { get; init; } = 32;

    /// <summary>Whether the adapter lies over weights in NF4 (QLoRA).</summary>
    public bool LoadIn4bit { get; init; }

    /// <summary>Tokens of an example at most; takes the place of <see cref="DataSection.MaxLength"/>.</summary>
    public int MaxLength { get; init; } = 2048;

    /// <summary>The template of chats: <see cref="NamedTemplate.Roles"/>, or the path of a file; null for the model's own.</summary>
    public string? ChatTemplate { get; init; }

    /// <summary>A run with these settings.</summary>
    /// <exception cref="ArgumentException">They contradict each other.</exception>
    internal RunConfig Apply(RunConfig run, PromptStyle style) => run with
    {
        Method = (UseLora, LoadIn4bit) switch
        {
            (true, false) => Method.Lora,
            (true, true) => Method.Qlora,
            (false, false) => Method.Full,
            _ => throw new ArgumentException("load_in_4bit needs use_lora: weights in four bits cannot be trained."),
        },
        Lora = new LoraSection(new LoraConfig { R = LoraR, LoraAlpha = LoraAlpha }),
        Data = run.Data with { MaxLength = MaxLength, PromptFormat = style, ChatTemplate = ChatTemplate },
    };
}
