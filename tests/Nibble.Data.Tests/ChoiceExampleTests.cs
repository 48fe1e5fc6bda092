using Nibble.Tests;

namespace Nibble.Data.Tests;

/// <summary>Multiple-choice records in the forms of public benchmarks.</summary>
public class ChoiceExampleTests
{
    [Theory]
    [InlineData("""{"question": "2 + 2?", "choices": ["3", "4"], "answer": 1}""")]
    [InlineData("""{"question": "2 + 2?", "choices": ["3", "4"], "answer": "B"}""")]
    [InlineData("""{"question": "2 + 2?", "choices": ["3", "4"], "answer": "4"}""")]
    [InlineData("""{"question": "2 + 2?", "choices": {"text": ["3", "4"], "label": ["1", "2"]}, "answerKey": "2"}""")]
    public void The_answer_may_be_a_place_a_letter_a_text_or_a_label(string line)
    {
        using var folder = new TempFolder();
        File.WriteAllText(folder["data.jsonl"], line);
        ChoiceExample example = Assert.IsType<ChoiceExample>(Assert.Single(DatasetReader.Read(folder["data.jsonl"])));
        Assert.Equal(("2 + 2?", 1), (example.Question, example.Answer));
        Assert.Equal(["3", "4"], example.Choices);
        Assert.Equal(new CompletionExample("Question: 2 + 2?\nAnswer:", " 3"), example.With(0));
    }

    [Theory]
    [InlineData("""{"question": "a", "choices": ["b"], "answer": 0}""", "has 1 choices; expected at least two")]
    [InlineData("""{"question": "a", "choices": ["b", "c"]}""", "field 'answer' is missing")]
    [InlineData("""{"question": "a", "choices": ["b", "c"], "answer": 2}""", "answer 2 is none of its 2 choices")]
    [InlineData("""{"question": "a", "choices": ["b", "c"], "answer": "d"}""", "answer \"d\" is none of its 2 choices")]
    [InlineData("""{"question": "a", "choices": "b", "answer": 0}""", "field 'choices' is no list of texts")]
    [InlineData("""{"question": "a", "choices": ["b", null], "answer": 0}""", "field 'choices' is missing or has gaps")]
    [InlineData("""{"choices": ["b", "c"], "answer": 0}""", "field 'question' is missing")]
    public void What_is_wrong_with_a_record_is_said_with_its_place(string line, string reason)
    {
        using var folder = new TempFolder();
        File.WriteAllText(folder["data.jsonl"], line);
        InvalidDataException exception = Assert.Throws<InvalidDataException>(() => DatasetReader.Read(folder["data.jsonl"]).ToList());
        Assert.Contains($"{folder["data.jsonl"]}:1:", exception.Message, StringComparison.Ordinal);
        Assert.Contains(reason, exception.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(DatasetFormat.Auto, """{"question":"a","choices":["b","c"],"answer":1}""")]
    [InlineData(DatasetFormat.Completion, """{"prompt":"Question: a\nAnswer:","completion":" c"}""")]
    [InlineData(DatasetFormat.Alpaca, """{"instruction":"a","input":"","output":"c"}""")]
    [InlineData(DatasetFormat.Text, """{"text":"Question: a\nAnswer: c"}""")]
    public void Other_forms_keep_the_right_answer(DatasetFormat format, string expected) =>
        Assert.Equal(expected, DatasetFormatter.Format(new ChoiceExample("a", ["b", "c"], 1), format).ToJsonString());
}
