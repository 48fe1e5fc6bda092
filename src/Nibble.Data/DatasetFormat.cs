namespace Nibble.Data;

/// <summary>The forms that records can have.</summary>
public enum DatasetFormat
{
    /// <summary>Found out from the first record.</summary>
    Auto,

    /// <summary><c>instruction</c>, <c>output</c>, optionally <c>input</c> and <c>system</c>.</summary>
    Alpaca,

    /// <summary><c>messages</c> with role and content, as OpenAI has them; <c>conversations</c> are read as well.</summary>
    Chat,

    /// <summary><c>conversations</c> with from and value.</summary>
    Sharegpt,

    /// <summary><c>prompt</c> and <c>completion</c>.</summary>
    Completion,

    /// <summary><c>question</c>, <c>choices</c> and <c>answer</c>: the right choice's place from 0, letter, label or text.</summary>
    Choice,

    /// <summary><c>text</c>.</summary>
    Text,

    /// <summary><c>input_ids</c> and <c>labels</c>.</summary>
    Tokenized,
}
